import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Refusal } from '../../src/errors/refusal.ts';
import {
  demandKey,
  MAX_NAMES,
  type StoreBackend,
  type StoredFile,
  type StoredRecord,
} from '../../src/store/backend.ts';

/** A state as a bucket has it: keys and bytes, no folders. Each change gives its key a version of its own. */
export class MemoryBackend implements StoreBackend {
  readonly #records = new Map<string, StoredRecord>();
  #changes = 0;

  async get(key: string): Promise<StoredRecord | undefined> {
    demandKey(key);
    return this.#records.get(key);
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    demandKey(key);
    this.#records.set(key, { bytes: Uint8Array.from(bytes), version: String(++this.#changes) });
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
}
