import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { tooLarge } from '../files/folder-tree.ts';
import { type Content, streamContent } from '../files/measure.ts';
import type { Tree, TreeFile } from '../files/tree.ts';
import type { ListEntry } from '../formats/records/release-list.ts';
import { isSafePath } from '../formats/records/safe-path.ts';
import { MAX_RECORD, type StoreBackend, type StoredContent } from './backend.ts';
import { readList } from './bucket-store.ts';
import { objectKey } from './objects.ts';
import type { ShelfTreeOptions } from './release-shelf.ts';

/** Bytes that are asked for at once. Two of them are in memory: one is read while the other is hashed. */
const PIECE = 4 * 1024 * 1024;

/**
 * A release of a bucket, by its list: the list says which object is at which path, and an object that is not what its
 * name says, or is gone, has drifted, whoever wrote it. The list is read when it is first needed, and once.
 */
export class ListedTree implements Tree {
  readonly name: string;
  readonly #records: StoreBackend;
  readonly #release: string;
  readonly #key: string;
  readonly #onProgress: ShelfTreeOptions['onProgress'];
  #entries: Promise<ReadonlyMap<string, ListEntry>> | undefined;

  /**
   * @param release whose list it must be.
   * @param key of the list. Where there is none the tree is empty.
   * @param name how sentences name it.
   */
  constructor(
    records: StoreBackend,
    release: string,
    key: string,
    name: string,
    { onProgress }: ShelfTreeOptions = {},
  ) {
    this.name = name;
    this.#records = records;
    this.#release = release;
    this.#key = key;
    this.#onProgress = onProgress;
  }

  async list(folder: string): Promise<readonly string[]> {
    const prefix = folder === '' ? '' : `${folder}/`;
    const names = new Set<string>();
    for (const path of (await this.#read()).keys()) {
      const [name] = path.startsWith(prefix) ? path.slice(prefix.length).split('/') : [];
      if (name) names.add(name);
    }
    return [...names].sort();
  }

  async read(path: string, limit: number): Promise<Uint8Array> {
    const entry = await this.#entry(path);
    const { size, sha256 } = entry;
    if (size > limit) throw tooLarge(path, size, limit);
    if (size <= MAX_RECORD) {
      // One question to the engine, where opening and reading are two.
      const { bytes } = (await this.#records.get(objectKey(sha256))) ?? {};
      if (!bytes) throw lost(path, this.name);
      if (bytes.length !== size || digestOf(bytes) !== sha256) throw drifted(path);
      return bytes;
    }
    const content = await this.#open(entry);
    try {
      const bytes = Buffer.alloc(size);
      const read = await fill(content, bytes, 0);
      if (read !== size || digestOf(bytes) !== sha256) throw drifted(path);
      return bytes;
    } finally {
      await content.close();
    }
  }

  async open(path: string): Promise<TreeFile> {
    const entry = await this.#entry(path);
    const content = await this.#open(entry);
    return {
      size: entry.size,
      place: undefined,
      listedSha256: entry.sha256,
      measure: (questions) => this.#measured(entry, content).measure(questions),
      close: () => content.close(),
    };
  }

  /**
   * A file of any size, piece by piece. The last piece comes once all of it turned out to be what the list says.
   *
   * @throws Refusal as `open`; `drifted`. IoError.
   */
  async *pieces(path: string): AsyncGenerator<Uint8Array> {
    const entry = await this.#entry(path);
    const content = await this.#open(entry);
    try {
      const hash = createHash('sha256');
      let held: Uint8Array | undefined;
      let size = 0;
      for await (const piece of this.#pieces(path, entry.size, content)) {
        if (held) yield held;
        held = Uint8Array.from(piece);
        hash.update(held);
        size += held.length;
      }
      if (size !== entry.size || hash.digest('hex') !== entry.sha256) throw drifted(path);
      if (held) yield held;
    } finally {
      await content.close();
    }
  }

  /** One reading for every question, and for whether it is what the list says. */
  #measured({ path, size, sha256 }: ListEntry, content: StoredContent): Content {
    const stream = streamContent(this.#pieces(path, size, content), path, size);
    return {
      measure: async (questions) => {
        const measured = await stream.measure([...questions, { kind: 'digest', hash: 'sha256' }]);
        const digest = measured.answers.at(-1);
        const found = digest instanceof Uint8Array ? Buffer.from(digest).toString('hex') : '';
        if (measured.size !== size || found !== sha256) throw drifted(path);
        return { size, answers: measured.answers.slice(0, -1) };
      },
    };
  }

  async *#pieces(path: string, size: number, content: StoredContent): AsyncGenerator<Uint8Array> {
    const buffers = [Buffer.allocUnsafe(Math.min(PIECE, size)), Buffer.allocUnsafe(Math.min(PIECE, size))];
    const at = (index: number) => {
      const position = index * PIECE;
      const buffer = buffers[index % 2]?.subarray(0, Math.max(0, Math.min(PIECE, size - position)));
      return buffer && fill(content, buffer, position).then((read) => buffer.subarray(0, read));
    };
    let next = at(0);
    for (let index = 0; index * PIECE < size; index += 1) {
      const piece = (await next) ?? Buffer.alloc(0);
      next = at(index + 1);
      // Whoever stops here is told of the first fault, not of one in what nobody waits for.
      next?.catch(() => {});
      yield piece;
      this.#onProgress?.(path, index * PIECE + piece.length, size);
      if (piece.length < Math.min(PIECE, size - index * PIECE)) return;
    }
  }

  async #open({ path, size, sha256 }: ListEntry): Promise<StoredContent> {
    const content = await this.#records.open(objectKey(sha256));
    if (!content) throw lost(path, this.name);
    if (content.size === size) return content;
    await content.close();
    throw drifted(path);
  }

  async #entry(path: string): Promise<ListEntry> {
    if (!isSafePath(path))
      throw new Refusal('unsafe-path', `${JSON.stringify(path)} is no path in a tree.`, { path });
    const entry = (await this.#read()).get(path);
    if (entry) return entry;
    throw new Refusal('absent', `${path} is missing from ${this.name}.`, { path });
  }

  #read(): Promise<ReadonlyMap<string, ListEntry>> {
    this.#entries ??= this.#readList().catch((error: unknown) => {
      // An engine that was away may be there at the next question.
      this.#entries = undefined;
      throw error;
    });
    return this.#entries;
  }

  async #readList(): Promise<ReadonlyMap<string, ListEntry>> {
    const list = await readList(this.#records, this.#release, this.#key);
    return new Map(list?.files.map((entry) => [entry.path, entry]));
  }
}

function drifted(path: string): Refusal {
  return new Refusal('drifted', `${path} is not what was stored: its object was changed or replaced.`, {
    path,
  });
}

function lost(path: string, name: string): Refusal {
  return new Refusal('drifted', `${path} is gone: ${name} has lost its object.`, { path });
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Reads until the buffer is full or the content ends; resolves with the bytes read. */
async function fill(content: StoredContent, buffer: Uint8Array, position: number): Promise<number> {
  let read = 0;
  while (read < buffer.length) {
    const more = await content.read(buffer.subarray(read), position + read);
    if (more === 0) break;
    read += more;
  }
  return read;
}
