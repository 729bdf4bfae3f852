import { setTimeout as sleep } from 'node:timers/promises';
import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { pinOf } from '../release/pin.ts';
import { isPromised, type PromisedFile } from '../release/promised-file.ts';
import type { ServedFile } from '../release/release-site.ts';
import type { Log } from '../serve/event-log.ts';
import type { ServableRelease } from '../trust/verified-release.ts';

/** A file of a release that is not served any more, since it is not what was verified. */
export interface Drifted {
  /** `arch/2026.11.01` */
  readonly release: string;
  /** In its tree. */
  readonly path: string;
  /** One sentence. */
  readonly why: string;
}

export interface DriftWatchOptions {
  /** What is offered now; the entry first. */
  readonly releases: () => readonly ServableRelease[];
  readonly log: Log;
  /** Why a file whose content is elsewhere is not served, as far as is known. */
  readonly refusalOf?: (file: PromisedFile) => Refusal | undefined;
  /** Files that are looked at in one go, beside those of the entry; 1000. */
  readonly most?: number;
}

const MOST = 1000;
/** At the same time: a disk has a queue, and others wait for it, too. */
const AT_ONCE = 16;

/** Milliseconds that a file which is read anew is waited for, before the others go on without it. */
const PATIENCE_MS = 500;

interface Watched {
  readonly release: string;
  readonly file: ServedFile;
  readonly path: string;
}

/**
 * Looks whether the files that are offered still are those that were verified, before anybody asks for them: a server that
 * says "machines boot it" of a file that it would refuse does not tell the truth. A look costs one `lstat`; the files of
 * the entry are looked at each time, the others in turns, so that a usual number of them is seen each second.
 */
export class DriftWatch {
  readonly #options: DriftWatchOptions;
  readonly #drifted = new Map<ServedFile, Drifted>();
  /** Looks that go on: one of a large file whose links have changed reads all of it. */
  readonly #reading = new Map<ServedFile, Promise<void>>();
  #looking: Promise<void> | undefined;
  #ended = false;
  /** Where the next turn begins. */
  #at = 0;

  constructor(options: DriftWatchOptions) {
    this.#options = options;
  }

  /** What is known to have drifted, of that which is offered. */
  get drifted(): readonly Drifted[] {
    return [...this.#drifted.values()];
  }

  /** What of one release has. */
  of(release: string): readonly Drifted[] {
    return this.drifted.filter((each) => each.release === release);
  }

  /** What an operator should know, one sentence each. */
  get warnings(): readonly string[] {
    const by = new Map<string, Drifted[]>();
    for (const each of this.drifted) by.set(each.release, [...(by.get(each.release) ?? []), each]);
    return [...by].map(([release, [first, ...others]]) => {
      const more = others.length === 0 ? '' : `, nor are ${others.length} more of its files`;
      return `a file of ${release} is not what was verified, and is not served: ${first?.path}${more}; publish, pull or import it again, and restart a server whose state is a folder`;
    });
  }

  /** Begins to look, unless the last look goes on: a disk that hangs keeps nothing else from going on. */
  look(): void {
    if (this.#ended) return;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** Resolves when the look that goes on, if any, is over. */
  async settled(): Promise<void> {
    await this.#looking;
  }

  /** Resolves when no look is under way any more, nor will be. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { releases, most = MOST } = this.#options;
    const [entry, ...rest] = releases();
    const others = rest.flatMap(filesOf);
    const from = this.#at >= others.length ? 0 : this.#at;
    const turn = [...others.slice(from), ...others.slice(0, from)].slice(0, most);
    this.#at = from + turn.length;
    const all = [...(entry ? filesOf(entry) : []), ...turn].filter(({ file }) => !this.#reading.has(file));
    const next = all[Symbol.iterator]();
    const late = sleep(PATIENCE_MS, undefined, { ref: false });
    const work = async (): Promise<void> => {
      for (const watched of next) {
        const looked = this.#lookAt(watched).finally(() => this.#reading.delete(watched.file));
        this.#reading.set(watched.file, looked);
        await Promise.race([looked, late]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const offered = new Set([entry, ...rest].flatMap((release) => [...(release?.files.values() ?? [])]));
    for (const file of this.#drifted.keys()) if (!offered.has(file)) this.#drifted.delete(file);
  }

  async #demandSame(file: ServedFile): Promise<void> {
    if (!isPromised(file)) return pinOf(file).look();
    const refusal = this.#options.refusalOf?.(file);
    if (refusal) throw refusal;
  }

  async #lookAt({ release, path, file }: Watched): Promise<void> {
    const before = this.#drifted.get(file);
    const { log } = this.#options;
    try {
      await this.#demandSame(file);
      if (before === undefined) return;
      this.#drifted.delete(file);
      log.info({ release, path }, 'a file is again what was verified');
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof IoError)) throw error;
      if (before?.why === error.message) return;
      this.#drifted.set(file, { release, path, why: error.message });
      const facts = error instanceof Refusal ? error.toJSON() : { err: error };
      log.error({ release, path, ...facts }, 'a file is not what was verified, and is not served');
    }
  }
}

function filesOf({ release, files }: ServableRelease): Watched[] {
  return [...files].map(([path, file]) => ({ release, path, file }));
}
