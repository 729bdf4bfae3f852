import { join } from 'node:path';
import type { Refusal } from '../errors/refusal.ts';
import type { Booter } from '../machines/booter.ts';
import { newestScripts } from '../machines/machine-booter.ts';
import { MACHINES } from '../machines/machine-files.ts';
import type { Site } from '../release/site.ts';
import type { DhcpClient, DhcpDecision } from '../serve/dhcp/dhcp-types.ts';
import type { Emit } from '../serve/emit.ts';
import { withEntries } from '../serve/entry-site.ts';
import type { Log } from '../serve/event-log.ts';
import type { Page } from '../serve/http/http-types.ts';
import { RememberedScripts } from '../serve/remembered-scripts.ts';
import type { Shares } from '../serve/shares.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { isBucketState } from '../store/s3/location.ts';
import { readStatePolicy } from '../store/state-policy.ts';
import { type ArmedServing, stateArmed } from './armed.ts';
import { offeredBooter } from './boot-answers.ts';
import { bootReportPages } from './boot-reports.ts';
import { localDiskBooter } from './local-disk.ts';
import { MachineWatch } from './machine-watch.ts';
import type { Offering } from './offering.ts';
import type { Signer } from './signer.ts';

export interface MachineDeskOptions {
  /** What is offered at the moment of a question. */
  readonly offering: () => Offering;
  /** Where machines are armed and written down; undefined: a tree is served, and knows none. */
  readonly state: string | undefined;
  /** Has a channel's scripts signed by what is written now; undefined: nobody is there to ask. */
  readonly apply?: ((channel: string) => Promise<unknown>) | undefined;
  /** Who writes down what became of an armed boot, where this server may not; undefined: nobody. */
  readonly signer: Signer | undefined;
  readonly shares: Shares;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly log: Log;
  readonly emit: Emit;
}

/** Who gets what, as a running server knows it: over HTTP, TFTP and DHCP by the same rules. */
export class MachineDesk {
  readonly #options: MachineDeskOptions;
  readonly #armed: ArmedServing | undefined;
  readonly #watch: MachineWatch | undefined;
  readonly #booter: Booter;
  readonly #remembered: RememberedScripts;

  constructor(options: MachineDeskOptions) {
    const { offering, state, clock, log, apply, monotonic } = options;
    this.#options = options;
    this.#remembered = new RememberedScripts(monotonic);
    const usual = offeredBooter(offering);
    if (state === undefined) {
      this.#booter = usual;
      return;
    }
    const { signer } = options;
    this.#armed = stateArmed({ state, signer, offered: () => offering().releases, clock, log });
    const local = localDiskBooter({
      records: recordsOf(state),
      roots: () => offering().entry.release.roots,
      policy: () => readStatePolicy(state),
      clock,
    });
    this.#booter = this.#armed.booter(usual, local);
    // Of a bucket nobody writes about machines where it lies: what they get is signed from a folder that is elsewhere.
    if (isBucketState(state)) return;
    this.#watch = new MachineWatch({
      folder: join(state, MACHINES),
      signed: () => offering().machines?.scripts ?? new Map<string, Refusal>(),
      channels: () => [...(offering().machines?.channels.keys() ?? [])],
      apply,
      log,
    });
  }

  /** The site with the paths at which machines begin. */
  site(files: Site): Site {
    return withEntries(this.#booter, this.#armed?.site(files) ?? files, this.#remembered, this.#options.emit);
  }

  /** To which machines report their boots. */
  get pages(): readonly (readonly [string, Page])[] {
    const { shares, log, monotonic, emit } = this.#options;
    return bootReportPages({ once: this.#armed?.once, shares, log, monotonic, emit });
  }

  /** Whether a card is one that somebody wrote down. */
  isKnown(mac: string): boolean {
    const newest = this.#rules();
    return newest?.matcher.knows(mac) ?? false;
  }

  /**
   * Whether a machine is told over DHCP what to load: from memory. One that starts its own disk is told, too: it may be
   * armed, and a signed script sends it on.
   */
  decide({ mac, uuid }: DhcpClient): DhcpDecision {
    const newest = this.#rules();
    if (!newest) return 'boot';
    const { gets, rule } = newest.matcher.find({
      loader: 'ipxe',
      mac,
      ...(uuid === undefined ? {} : { uuid }),
    });
    if (gets.boot !== 'refuse') return 'boot';
    return { silent: rule.kind === 'unknown' ? 'not-enrolled' : 'blocked' };
  }

  #rules() {
    const newest = newestScripts({ scripts: this.#options.offering().machines?.scripts ?? new Map() });
    return newest && 'matcher' in newest ? newest : undefined;
  }

  /** Looks whether something was written, armed or disarmed since. */
  look(): void {
    this.#watch?.look();
    this.#armed?.look();
  }

  /** Looks at once. @returns why what is written does not count yet; undefined: it is signed. */
  async lookNow(): Promise<string | undefined> {
    return this.#watch?.lookNow();
  }

  get warnings(): readonly string[] {
    return [...(this.#watch?.warnings ?? []), ...(this.#armed?.warnings ?? [])];
  }

  /** Resolves when nothing is under way any more. */
  async end(): Promise<void> {
    await Promise.all([this.#watch?.end(), this.#armed?.settled()]);
  }
}
