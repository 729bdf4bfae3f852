import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { swappedUuid } from '../formats/net/machine-claims.ts';
import type { Arming, Consumption } from '../formats/records/armed-boot.ts';
import type { Machine } from './booter.ts';

/**
 * A boot that happens once: armed by an operator with a key, consumed by the machine, then something else. What is armed
 * destroys (an unattended installer), so it may begin at most once for each arming, whatever is retried, repeated, lost or
 * cut off. Two orders carry that:
 *
 *     1. an arming is consumed once: its consumption is a record that is written where there is none, or not at all
 *     2. what destroys begins only after that record is durable: early userspace goes on when it is told "consumed", and
 *        where nobody reports, the last bytes of the last file that the machine needs leave after it
 *
 * Between them a power cut leads to the local disk, never to a second run. Nothing here arms.
 */

/** An arming as it is kept, and what has become of it. */
export interface KeptArming {
  readonly arming: Arming;
  /** Which of this machine's, from 1. */
  readonly number: number;
  readonly consumed: Consumption | undefined;
  /** An operator ended what followed: the machine boots what it usually does. */
  readonly dismissed: boolean;
}

/** Where armings are kept: one place for all servers of a state. Each verb is durable when it resolves. */
export interface OnceRecords {
  /** The newest arming of a machine, which alone counts. */
  newest(mac: string): Promise<KeptArming | undefined>;
  /** Whether there never was one, for whoever may not wait; false says nothing. */
  wasSurelyNever(mac: string): boolean;
  /** Writes the one consumption of an arming; false, and nothing is changed, where it has one. */
  consume(kept: KeptArming, consumption: Consumption): Promise<boolean>;
  /** Files that have left whole, by their path in the release. */
  left(kept: KeptArming): Promise<ReadonlySet<string>>;
  /** Adds one; once is as good as twice. */
  leave(kept: KeptArming, path: string): Promise<void>;
  dismiss(kept: KeptArming): Promise<void>;
}

/** What an arming makes of a machine's boot: its script, or its local disk; undefined: nothing, it boots as usual. */
export type OnceAnswer =
  | { readonly kind: 'armed'; readonly arming: Arming }
  | { readonly kind: 'local'; readonly arming: Arming }
  | undefined;

/** What early userspace says of its boot: claimed by whoever is at `address`. */
export interface OnceReport {
  readonly mac: string;
  /** Of the arming that it was started by. */
  readonly id: string;
  readonly nonce: string;
  readonly address: string;
}

/** Milliseconds that a clock may lie before the time of an arming without being called wrong. */
const SKEW = 300_000;

export class BootOnce {
  readonly #records: OnceRecords;
  readonly #clock: () => number;
  readonly #onConsumed: (arming: Arming, consumption: Consumption) => void;

  /**
   * @param clock milliseconds since 1970.
   * @param onConsumed told of each consumption once it is durable; must not throw.
   */
  constructor(
    records: OnceRecords,
    clock: () => number,
    onConsumed: (arming: Arming, consumption: Consumption) => void = () => {},
  ) {
    this.#records = records;
    this.#clock = clock;
    this.#onConsumed = onConsumed;
  }

  /** What a machine gets. Its own words select; the script itself looks at its card. Rejects as the records do. */
  async answer({ mac, uuid, loader, channel }: Machine): Promise<OnceAnswer> {
    // Whoever asks for a channel by its name, as a menu does, gets that.
    if (mac === undefined || channel !== undefined) return undefined;
    const kept = await this.#current(mac);
    if (!kept) return undefined;
    const { arming, consumed, dismissed } = kept;
    if (arming.uuid !== undefined && uuid !== undefined && ![uuid, swappedUuid(uuid)].includes(arming.uuid))
      return undefined;
    if (!consumed)
      return this.#counts(arming) && arming.loader === loader ? { kind: 'armed', arming } : undefined;
    const booted = consumed.how === 'report' || consumed.how === 'files';
    return booted && !dismissed && arming.afterwards === 'local' ? { kind: 'local', arming } : undefined;
  }

  /** Whether this very arming still waits for its machine. Rejects as the records do. */
  async waits(mac: string, id: string): Promise<boolean> {
    const kept = await this.#current(mac);
    return kept?.arming.id === id && !kept.consumed;
  }

  /**
   * Whether `answer` would say that a machine boots as usual, as far as that is known without waiting; false says nothing.
   */
  isSurelyUsual({ mac, channel }: Machine): boolean {
    return mac === undefined || channel !== undefined || this.#records.wasSurelyNever(mac);
  }

  /**
   * A report of a machine that was started by an arming, before it begins. Resolves where it may: this very report has
   * consumed the arming, now or when it was sent before. It can end an arming, and never make one.
   *
   * @throws Refusal where it may not: `absent`, `stale`, `expired`, `wrong-purpose`.
   */
  async report(report: OnceReport): Promise<void> {
    const { mac, id, nonce, address } = report;
    const kept = await this.#demand(mac, id);
    if (kept.arming.leaves !== undefined)
      throw new Refusal('wrong-purpose', `The arming ${id} of ${mac} is not consumed by a report.`, {
        mac,
        id,
      });
    if (isBy(kept.consumed, report)) return;
    if (kept.consumed) throw gone(kept.arming, kept.consumed);
    if (await this.#consume(kept, { how: 'report', address, nonce: sha256(nonce) })) return;
    // Another was faster: perhaps this very report, sent twice.
    const now = await this.#demand(mac, id);
    if (isBy(now.consumed, report)) return;
    throw gone(now.arming, now.consumed);
  }

  /** Whether this very report has consumed an arming already: its answer was lost, and is given again. */
  async wasConsumedBy(report: OnceReport): Promise<boolean> {
    const kept = await this.#records.newest(report.mac);
    return kept?.arming.id === report.id && isBy(kept.consumed, report);
  }

  /**
   * Whether a file may begin to leave for an arming. One that the machine does not need for its start may also after it
   * was consumed: the seal of the last initrd comes behind it.
   *
   * @param path in the release.
   * @throws Refusal where it may not: `absent`, `stale`, `expired`.
   */
  async demandArmed(mac: string, id: string, path: string): Promise<Arming> {
    const { arming, consumed } = await this.#demand(mac, id);
    if (consumed && arming.leaves?.includes(path)) throw gone(arming, consumed);
    return arming;
  }

  /**
   * Called before the last bytes of a file leave. The last of the files that a machine needs takes the arming with it.
   *
   * @param path in the release.
   * @throws Refusal where those bytes may not leave: somebody else has what was armed.
   */
  async leaving(mac: string, id: string, path: string, address?: string): Promise<void> {
    const kept = await this.#demand(mac, id);
    if (kept.consumed) throw gone(kept.arming, kept.consumed);
    const { leaves = [] } = kept.arming;
    if (!leaves.includes(path)) return;
    // Written first, and looked at then: of two files that leave at the same moment one at least sees both.
    await this.#records.leave(kept, path);
    const left = await this.#records.left(kept);
    if (leaves.some((one) => !left.has(one))) return;
    // Whoever has all the others would have everything with this one.
    if (await this.#consume(kept, { how: 'files', address })) return;
    throw gone(kept.arming, (await this.#records.newest(mac))?.consumed);
  }

  /**
   * An operator takes an arming back, or ends what followed it. Answers what was there before; undefined where there was
   * nothing to take back.
   */
  async cancel(mac: string): Promise<KeptArming | undefined> {
    const kept = await this.#current(mac);
    if (!kept || kept.dismissed) return undefined;
    if (!kept.consumed && (await this.#consume(kept, { how: 'cancelled' }))) return kept;
    const now = (await this.#records.newest(mac)) ?? kept;
    if (now.consumed?.how === 'cancelled' || now.consumed?.how === 'ended') return undefined;
    await this.#records.dismiss(now);
    return now;
  }

  /** The newest arming; one whose time is over is ended for good, so that no clock that is set back brings it back. */
  async #current(mac: string): Promise<KeptArming | undefined> {
    const kept = await this.#records.newest(mac);
    if (!kept || kept.consumed || this.#clock() < kept.arming.ends) return kept;
    await this.#consume(kept, { how: 'ended' });
    return this.#records.newest(mac);
  }

  async #demand(mac: string, id: string): Promise<KeptArming> {
    const kept = await this.#current(mac);
    if (!kept) throw new Refusal('absent', `The machine ${mac} is not armed.`, { mac });
    if (kept.arming.id !== id)
      throw new Refusal('stale', `The machine ${mac} was armed anew since ${id}.`, { mac, id });
    if (!kept.consumed && !this.#counts(kept.arming))
      throw new Refusal('not-yet-valid', `The arming of ${mac} is from the future; is the clock right?`, {
        mac,
      });
    return kept;
  }

  /** False where the clock was set back to before it was armed: nothing is known then of when it ends. */
  #counts({ armed }: Arming): boolean {
    return this.#clock() >= armed - SKEW;
  }

  async #consume(kept: KeptArming, facts: Pick<Consumption, 'how' | 'address' | 'nonce'>): Promise<boolean> {
    const time = Math.floor(this.#clock() / 1000) * 1000;
    const consumption = { id: kept.arming.id, time, ...facts };
    const first = await this.#records.consume(kept, consumption);
    if (first) this.#onConsumed(kept.arming, consumption);
    return first;
  }
}

function isBy(consumed: Consumption | undefined, { nonce, address }: OnceReport): boolean {
  return consumed?.nonce === sha256(nonce) && consumed.address === address;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function gone({ mac, id }: Arming, consumed: Consumption | undefined): Refusal {
  const how = consumed?.how ?? 'report';
  const why = {
    report: 'was booted, and boots once',
    files: 'was fetched, and boots once',
    cancelled: 'was taken back',
    ended: 'has ended',
  }[how];
  return new Refusal(how === 'ended' ? 'expired' : 'stale', `The arming ${id} of ${mac} ${why}.`, {
    mac,
    id,
    how,
  });
}
