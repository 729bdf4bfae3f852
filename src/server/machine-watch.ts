import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, isAbsent } from '../errors/io.ts';
import type { Refusal } from '../errors/refusal.ts';
import type { ChannelScripts } from '../machines/channel-scripts.ts';
import { newestScripts } from '../machines/machine-booter.ts';
import { readMachineRules } from '../machines/machine-files.ts';
import { encodeRules } from '../machines/machine-record.ts';
import { hasRules } from '../machines/machine-rules.ts';
import type { Log } from '../serve/event-log.ts';

export interface MachineWatchOptions {
  /** Where an operator writes about machines. */
  readonly folder: string;
  /** What counts: what was signed with the channels. */
  readonly signed: () => ReadonlyMap<string, ChannelScripts | Refusal>;
  /** The channels of the state. */
  readonly channels: () => readonly string[];
  /** Has a channel's scripts signed by what is written now; undefined: nobody is there to ask. */
  readonly apply?: ((channel: string) => Promise<unknown>) | undefined;
  readonly log: Log;
}

/**
 * Looks whether what is written about machines is what was signed. Nothing that is written counts by itself: it is read
 * whole, or not at all, and either a keyholder is asked to sign it, or it is said that somebody has to.
 */
export class MachineWatch {
  readonly #options: MachineWatchOptions;
  #mark: string | undefined;
  #warning: string | undefined;
  /** Why what is written does not count yet. */
  #unsigned: string | undefined;
  #skip = 0;
  #looking: Promise<void> | undefined;

  constructor(options: MachineWatchOptions) {
    this.#options = options;
  }

  /** What an operator should know, one sentence each. */
  get warnings(): readonly string[] {
    return this.#warning === undefined ? [] : [this.#warning];
  }

  /** Begins to look, unless the last look goes on. */
  look(): void {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /**
   * Looks now, once what was just written is to be looked at, too.
   *
   * @returns why it does not count yet; undefined: it is signed.
   */
  async lookNow(): Promise<string | undefined> {
    await this.#looking;
    this.#skip = 0;
    this.#mark = undefined;
    this.look();
    await this.#looking;
    return this.#unsigned;
  }

  /** Resolves when no look is under way any more. */
  async end(): Promise<void> {
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { folder, log, signed } = this.#options;
    if (this.#skip > 0) {
      this.#skip -= 1;
      return;
    }
    try {
      const newest = newestScripts({ scripts: signed() });
      // What was signed meanwhile is a change, too.
      const mark = `${await markOf(folder)} ${newest && 'since' in newest ? newest.since : ''}`;
      if (mark === this.#mark) return;
      this.#mark = mark;
      const rules = await readMachineRules(folder);
      const written = encodeRules(rules);
      const isSigned =
        newest === undefined
          ? !hasRules(rules)
          : 'matcher' in newest && Buffer.from(encodeRules(newest.matcher.rules)).equals(written);
      // Where a keyholder is asked it is told only what came of that.
      this.#tell(isSigned || this.#options.apply ? undefined : UNSIGNED);
      this.#unsigned = isSigned ? undefined : UNSIGNED;
      if (!isSigned) await this.#apply();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const warning = `what is written about machines is not read, and what was signed before stays: ${message}`;
      if (warning !== this.#warning) log.error({ reason: message }, 'the files of machines are not read');
      this.#warning = warning;
      this.#unsigned = warning;
    }
  }

  #tell(warning: string | undefined): void {
    if (warning !== undefined && warning !== this.#warning) this.#options.log.warn({}, warning);
    this.#warning = warning;
  }

  async #apply(): Promise<void> {
    const { apply, channels, log } = this.#options;
    if (!apply) return;
    this.#unsigned = undefined;
    for (const channel of channels()) {
      try {
        await apply(channel);
        log.info({ channel }, 'the scripts of its machines were signed');
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        log.error({ channel, reason: message }, 'the scripts of its machines could not be signed');
        this.#warning = `${UNSIGNED}: ${message}`;
        this.#unsigned = this.#warning;
        // Whoever signs may be away for a moment.
        this.#skip = RETRY;
        this.#mark = undefined;
      }
    }
  }
}

/** Looks that are left out after a signature that could not be had: about half a minute. */
const RETRY = 30;

const UNSIGNED =
  'what is written about machines is not signed yet, and does not count until "bootseal machines apply"';

/** What is another text whenever a file came, went or changed. */
async function markOf(folder: string): Promise<string> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw cannotRead(folder, error);
  });
  const marks: string[] = [];
  for (const name of names.filter((one) => one.endsWith('.toml')).sort()) {
    const found = await stat(join(folder, name), { bigint: true }).catch((error: unknown) => {
      if (isAbsent(error)) return undefined;
      throw cannotRead(join(folder, name), error);
    });
    if (found) marks.push([name, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' '));
  }
  return marks.join('\n');
}
