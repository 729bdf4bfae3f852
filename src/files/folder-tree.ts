import { join, resolve } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { isSafePath } from '../formats/records/safe-path.ts';
import { lstatBeneath, namesBeneath, openBeneath, readBeneath } from './beneath.ts';
import { type MeasureOptions, measureHandle } from './measure.ts';
import type { Tree, TreeFile } from './tree.ts';

export interface FolderTreeOptions {
  /** Told how far the reading of a large file is, in bytes. */
  readonly onProgress?: (path: string, bytes: number, size: number) => void;
  /** See `MeasureOptions.alone`. */
  readonly alone?: boolean;
}

/** A tree in a folder of this machine. */
export class FolderTree implements Tree {
  readonly name: string;
  readonly #folder: string;
  readonly #onProgress: FolderTreeOptions['onProgress'];
  readonly #alone: boolean;

  constructor(folder: string, { onProgress, alone = false }: FolderTreeOptions = {}) {
    this.name = folder;
    this.#folder = resolve(folder);
    this.#onProgress = onProgress;
    this.#alone = alone;
  }

  list(folder: string): Promise<readonly string[]> {
    if (folder !== '') demandSafe(folder);
    return namesBeneath(this.#folder, folder);
  }

  async read(path: string, limit: number): Promise<Uint8Array> {
    demandSafe(path);
    return (await readBeneath(this.#folder, path, limit)).bytes;
  }

  async size(path: string): Promise<number> {
    demandSafe(path);
    const facts = await lstatBeneath(this.#folder, path);
    if (!facts) throw new Refusal('absent', `${path} is missing from ${this.name}.`, { path });
    if (!facts.isFile()) throw new Refusal('unsafe-path', `${path} is not a regular file.`, { path });
    return facts.size;
  }

  async open(path: string): Promise<TreeFile> {
    demandSafe(path);
    const opened = await openBeneath(this.#folder, path);
    const { handle, identity } = opened;
    const size = Number(identity.size);
    const options: MeasureOptions = {
      alone: this.#alone,
      ...(this.#onProgress ? { onProgress: (bytes) => this.#onProgress?.(path, bytes, size) } : {}),
    };
    return {
      size,
      place: { path: join(this.#folder, path), identity },
      measure: (questions) => measureHandle(opened, path, questions, options),
      // What was read is read.
      close: () => handle.close().catch(() => {}),
    };
  }
}

/** What a file is called that is longer than it may be. */
export function tooLarge(path: string, size: number | bigint, limit: number): Refusal {
  return new Refusal('too-large', `${path} has ${size} bytes, and ${limit} are the most it may have.`, {
    path,
    size: Number(size),
    limit,
  });
}

function demandSafe(path: string): void {
  if (!isSafePath(path))
    throw new Refusal('unsafe-path', `${JSON.stringify(path)} is no path in a tree.`, { path });
}
