import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Refusal } from '../../src/errors/refusal.ts';
import {
  demandKey,
  MAX_NAMES,
  MAX_RECORD,
  type StoreBackend,
  type StoredContent,
  type StoredFacts,
  type StoredFile,
  type StoredRecord,
} from '../../src/store/backend.ts';

/** A state as a bucket has it: keys and bytes, no folders. Each change gives its key a version of its own. */
export class MemoryBackend implements StoreBackend {
  readonly #records = new Map<string, StoredRecord & { readonly modified: number }>();
  #changes = 0;

  async get(
    key: string,
    most = MAX_RECORD,
  ): Promise<(StoredRecord & { readonly modified: number }) | undefined> {
    demandKey(key);
    const record = this.#records.get(key);
    if (record && record.bytes.length > most)
      throw new Refusal('too-large', `${key} has ${record.bytes.length} bytes; no record is that long.`, {});
    return record;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    demandKey(key);
    this.#records.set(key, {
      bytes: Uint8Array.from(bytes),
      version: String(++this.#changes),
      modified: Date.now(),
    });
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    return this.compareAndSwap(key, undefined, bytes);
  }

  async putFile(key: string, { source, name, size, sha256 }: StoredFile): Promise<void> {
    const bytes = typeof source === 'string' ? await readFile(source) : source;
    if (bytes.length !== size || createHash('sha256').update(bytes).digest('hex') !== sha256)
      throw new Refusal('drifted', `${name} changed after it was verified.`, { path: name });
    await this.put(key, bytes);
  }

  async open(key: string): Promise<StoredContent | undefined> {
    const record = await this.get(key);
    if (!record) return undefined;
    const { bytes } = record;
    return {
      size: bytes.length,
      read: async (buffer, position) => {
        const piece = bytes.subarray(position, position + buffer.length);
        buffer.set(piece);
        return piece.length;
      },
      close: async () => {},
    };
  }

  async facts(key: string): Promise<StoredFacts | undefined> {
    const record = await this.get(key);
    return record && { size: record.bytes.length, modified: record.modified };
  }

  async copy(from: string, to: string): Promise<boolean> {
    const record = await this.get(from);
    if (record) await this.put(to, record.bytes);
    return record !== undefined;
  }

  async remove(key: string): Promise<void> {
    demandKey(key);
    this.#records.delete(key);
  }

  async compareAndSwap(
    key: string,
    before: string | undefined,
    after: Uint8Array | undefined,
  ): Promise<boolean> {
    demandKey(key);
    if (this.#records.get(key)?.version !== before) return false;
    if (after) await this.put(key, after);
    else this.#records.delete(key);
    return true;
  }

  async list(prefix: string): Promise<readonly string[]> {
    if (prefix !== '') demandKey(prefix);
    const start = prefix === '' ? '' : `${prefix}/`;
    const names = new Set<string>();
    for (const key of this.#records.keys()) {
      if (!key.startsWith(start)) continue;
      const [name = '', ...rest] = key.slice(start.length).split('/');
      names.add(rest.length > 0 ? `${name}/` : name);
    }
    if (names.size > MAX_NAMES) throw new Refusal('too-large', `${prefix} holds ${names.size} names.`, {});
    return [...names].sort();
  }

  /** As `S3Backend` has it. */
  async eachBelow(prefix: string, take: (key: string, facts: StoredFacts) => void): Promise<void> {
    demandKey(prefix);
    for (const [key, { bytes, modified }] of this.#records)
      if (key.startsWith(`${prefix}/`)) take(key, { size: bytes.length, modified });
  }
}
