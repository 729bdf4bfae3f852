import { Refusal } from '../errors/refusal.ts';
import { tooLarge } from './folder-tree.ts';
import { bytesContent } from './measure.ts';
import type { Tree, TreeFile } from './tree.ts';

/** A tree of bytes in memory, or of some that take the place of another tree's. */
export class MemoryTree implements Tree {
  readonly name: string;
  readonly #files: ReadonlyMap<string, Uint8Array>;
  readonly #below: Tree | undefined;

  /** @param below asked for whatever is not among `files`. */
  constructor(name: string, files: ReadonlyMap<string, Uint8Array>, below?: Tree) {
    this.name = name;
    this.#files = files;
    this.#below = below;
  }

  async list(folder: string): Promise<readonly string[]> {
    const prefix = folder === '' ? '' : `${folder}/`;
    const names = new Set((await this.#below?.list(folder)) ?? []);
    for (const path of this.#files.keys()) {
      const [name] = path.startsWith(prefix) ? path.slice(prefix.length).split('/') : [];
      if (name) names.add(name);
    }
    return [...names].sort();
  }

  async read(path: string, limit: number): Promise<Uint8Array> {
    const bytes = this.#files.get(path);
    if (!bytes && this.#below) return this.#below.read(path, limit);
    if (!bytes) throw missing(path);
    if (bytes.length > limit) throw tooLarge(path, bytes.length, limit);
    return bytes;
  }

  async open(path: string): Promise<TreeFile> {
    const bytes = this.#files.get(path);
    if (!bytes && this.#below) return this.#below.open(path);
    if (!bytes) throw missing(path);
    return { size: bytes.length, place: undefined, ...bytesContent(bytes), close: async () => {} };
  }
}

function missing(path: string): Refusal {
  return new Refusal('absent', `${path} is missing.`, { path });
}
