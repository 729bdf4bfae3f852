import { createHash } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { type FileHandle, lstat } from 'node:fs/promises';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import {
  demandSameFile,
  type FileIdentity,
  identityOf,
  isSameFile,
  onlyRelinked,
} from '../files/file-identity.ts';
import { type MeasureOptions, measureFile } from '../files/measure.ts';
import { reading } from '../files/reading.ts';
import { turnOfLoop } from '../files/turn.ts';

/** What is known of a file that was verified. */
export interface PinnedFile {
  /** Absolute. */
  readonly path: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly identity: FileIdentity;
}

/** How often one look has it hashed because somebody goes on linking it. */
const TRIES = 5;

const pins = new WeakMap<PinnedFile, Pin>();

/** The pin of a verified file: one for all who serve it. */
export function pinOf(file: PinnedFile): Pin {
  const pin = pins.get(file) ?? new Pin(file);
  pins.set(file, pin);
  return pin;
}

/**
 * The identity of a verified file, by which it is known again. Where nothing but its links may have changed, the
 * file is read and hashed anew, once for all who ask: it is the same content, or it is not served.
 */
export class Pin {
  readonly #file: PinnedFile;
  #identity: FileIdentity;
  #renewal: Promise<boolean> | undefined;
  #withdrawn: Refusal | undefined;
  /** The turn of the event loop in which it was found to be the same. */
  #sameIn: number | undefined;

  constructor(file: PinnedFile) {
    this.#file = file;
    this.#identity = file.identity;
  }

  /** Why nothing of it is served any more, whatever its identity; undefined while it is. */
  get withdrawn(): Refusal | undefined {
    return this.#withdrawn;
  }

  /** Throws a `Refusal` (`drifted`) unless the open file is the one that was verified. */
  async demand(handle: FileHandle): Promise<void> {
    if (this.#withdrawn) throw this.#withdrawn;
    await this.#demandSame(() => this.#identityOf(handle));
  }

  /**
   * Whether the file by its path is, at this moment, the one that was verified: for whoever holds its content, and may not
   * wait. One look is for all who ask in one turn of the event loop. Where the answer is no, `demand` says why.
   */
  isSame(): boolean {
    if (this.#withdrawn) return false;
    const turn = turnOfLoop();
    if (this.#sameIn === turn) return true;
    try {
      const now = lstatSync(this.#file.path, { bigint: true, throwIfNoEntry: false });
      if (now === undefined || !isSameFile(this.#identity, now)) return false;
    } catch {
      return false;
    }
    this.#sameIn = turn;
    return true;
  }

  /**
   * Holds what was read of it, all of it, against what was verified. What differs though no time of the file tells is
   * withdrawn for as long as this process lives.
   *
   * @throws Refusal `bad-signature`.
   */
  demandContent(content: Uint8Array): void {
    if (createHash('sha256').update(content).digest('hex') !== this.#file.sha256) this.#withdraw();
  }

  /**
   * Looks whether the file by its path still is the one that was verified: by its identity, and by its content where only
   * its links may have changed. For whoever wants to tell before anybody asks for it.
   *
   * @throws Refusal `drifted`; what the system says where it cannot be looked at.
   */
  async look(): Promise<void> {
    if (this.#withdrawn) throw this.#withdrawn;
    const { path, name } = this.#file;
    const seen = async (): Promise<FileIdentity> => {
      try {
        return identityOf(await lstat(path, { bigint: true }));
      } catch (error) {
        if (isAbsent(error)) throw new Refusal('drifted', `${name} is gone.`, { path: name });
        throw cannotRead(name, error);
      }
    };
    await this.#demandSame(seen);
  }

  /**
   * Reads all of it again. A disk may give back other bytes than were written to it, and no time of the file
   * tells: then it is withdrawn for as long as this process lives.
   *
   * @throws Refusal where it is not what was verified any more: `drifted` by its identity, `bad-signature` by its
   * content alone; what the system says where it cannot be read.
   */
  async scrub(options: MeasureOptions): Promise<void> {
    if (this.#withdrawn) throw this.#withdrawn;
    const { name } = this.#file;
    const { same, identity } = await this.#measure(options);
    if (same && onlyRelinked(this.#identity, identity)) this.#identity = identity;
    demandSameFile(name, this.#identity, identity);
    if (same) return;
    this.#withdraw();
  }

  #withdraw(): never {
    const { name } = this.#file;
    const message = `The contents of ${name} changed although its timestamps did not; check the disk.`;
    this.#withdrawn = new Refusal('bad-signature', message, { path: name });
    throw this.#withdrawn;
  }

  #identityOf(handle: FileHandle): Promise<FileIdentity> {
    return reading(this.#file.name, undefined, async () => identityOf(await handle.stat({ bigint: true })));
  }

  /** @param seen looks at it now. */
  async #demandSame(seen: () => Promise<FileIdentity>): Promise<void> {
    let now = await seen();
    // It may be linked again while it is hashed: each time it is read and hashed anew, or it is not the same.
    for (let tries = 0; tries < TRIES && onlyRelinked(this.#identity, now); tries += 1) {
      if (!(await this.#renewOnce())) break;
      now = await seen();
    }
    demandSameFile(this.#file.name, this.#identity, now);
  }

  #renewOnce(): Promise<boolean> {
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** False: whoever asked finds another identity than the one that is pinned, and refuses. */
  async #renew(): Promise<boolean> {
    const { same, identity } = await this.#measure({});
    if (same) this.#identity = identity;
    return same;
  }

  async #measure(options: MeasureOptions): Promise<{ same: boolean; identity: FileIdentity }> {
    const { path, sha256 } = this.#file;
    const { answers, identity } = await measureFile(path, [{ kind: 'digest', hash: 'sha256' }], options);
    return { same: Buffer.from(answers[0] as Uint8Array).toString('hex') === sha256, identity };
  }
}
