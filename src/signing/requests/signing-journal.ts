import { constants, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Malformed } from '../../errors/malformed.ts';
import { UsageError } from '../../errors/usage.ts';
import { explain, writeFileAtomically } from '../../files/atomic-file.ts';
import { readBeneathIfThere } from '../../files/beneath.ts';
import { makeFolders } from '../../files/make-folders.ts';
import { demandOwn } from '../../files/own-folder.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { decodeManifest, MAX_MANIFEST, type Manifest } from '../../formats/records/manifest.ts';

/** What was signed somewhere, kept beside the keys: one line of JSON each, and the last manifest of each name. */

export interface SigningEntry {
  readonly act: 'sign-request' | 'sign-image';
  readonly release?: string;
  readonly serial?: number;
  /** SHA-256, lower-case hex. */
  readonly manifest?: string;
  /** Authenticode digest, lower-case hex. */
  readonly image?: string;
  /** Signed without the image: nobody saw what it starts. */
  readonly blind?: true;
  /** By name. */
  readonly keys: readonly string[];
  readonly signatures: number;
}

export class SigningJournal {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * @throws Refusal `unsafe-keys` where others may write in it: they could replace the manifest that the next one is held
   *   against. IoError where the folder can be neither found nor made.
   */
  static async open(folder: string): Promise<SigningJournal> {
    await makeFolders(folder, 0o700);
    await demandOwn(folder);
    return new SigningJournal(folder);
  }

  /** The manifest of this name that was signed last. @throws UsageError where what is there is none; IoError. */
  async last(name: string): Promise<Manifest | undefined> {
    const path = this.#manifest(name);
    // Never waits for the writer of a FIFO, follows no link, and takes no more than a manifest may have.
    const bytes = await readBeneathIfThere(this.#folder, basename(path), MAX_MANIFEST);
    if (!bytes) return undefined;
    try {
      return decodeManifest(bytes);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      throw new UsageError(`${path} is not a manifest (${error.message}); put it aside to go on.`);
    }
  }

  /**
   * Writes down what is about to be signed, before it is: a signature that no line tells of was not made here.
   *
   * @param now milliseconds since 1970.
   */
  async note(entry: SigningEntry, now: number): Promise<void> {
    const path = join(this.#folder, 'journal.jsonl');
    const { O_APPEND, O_CREAT, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants;
    const line = `${JSON.stringify({ time: isoSeconds(now), ...entry })}\n`;
    try {
      const handle = await open(path, O_APPEND | O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0o600);
      try {
        const stat = await handle.stat();
        if (!stat.isFile()) throw new UsageError(`${path} is not a file; put it aside to go on.`);
        const { size } = stat;
        const last = Buffer.alloc(1, '\n');
        if (size > 0) await handle.read(last, 0, 1, size - 1);
        // A line that a crash cut short stays one of its own.
        await handle.appendFile(last.toString() === '\n' ? line : `\n${line}`);
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw explain(error, path);
    }
  }

  /** What the next request of this name is held against. */
  async remember(name: string, manifest: Uint8Array): Promise<void> {
    await writeFileAtomically(this.#manifest(name), manifest, { mode: 0o600 });
  }

  #manifest(name: string): string {
    return join(this.#folder, `${name}.manifest`);
  }
}
