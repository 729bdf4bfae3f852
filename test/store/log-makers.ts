import { cp, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashesToStore, leafHash, leftOf, storedHashes } from '../../src/formats/records/merkle.ts';
import type { StoreBackend } from '../../src/store/backend.ts';
import { BucketLog } from '../../src/store/log-bucket.ts';
import { entryKey, nodesKey } from '../../src/store/log-bucket-objects.ts';
import { FolderLog } from '../../src/store/log-folder.ts';
import type { LogStore } from '../../src/store/log-store.ts';
import type { LogMaker } from './log-contract.ts';
import { newState } from './logs.ts';
import { MemoryBackend } from './memory-backend.ts';

/** All hashes of a tree over these entries, by entry. */
function hashesOf(entries: readonly string[]): Buffer[] {
  const all: Uint8Array[] = [];
  return entries.map((text, index) => {
    const left = leftOf(index).map((position) => all[position] as Uint8Array);
    const hashes = hashesToStore(leafHash(Buffer.from(text, 'latin1')), left);
    all.push(...hashes);
    return Buffer.concat(hashes);
  });
}

export function folderLogs(folder: string): LogMaker {
  const file = ({ where }: LogStore, name: string) => join(where, 'log', name);
  return {
    make: async () => new FolderLog(await newState(folder)),
    async copy({ where }) {
      const state = await newState(folder);
      await cp(where, state, { recursive: true });
      return new FolderLog(state);
    },
    rewrite: (log, entries) =>
      writeFile(file(log, 'entries'), entries.map((text) => `${text}\n`).join(''), 'latin1'),
    async forget(log, from) {
      await truncate(file(log, 'offsets'), 8 * from);
      await truncate(file(log, 'hashes'), 32 * storedHashes(from));
    },
    async rederive(log) {
      const entries = (await readFile(file(log, 'entries'), 'latin1')).split(/(?<=\n)\n/).slice(0, -1);
      await writeFile(file(log, 'hashes'), Buffer.concat(hashesOf(entries)));
      let end = 0;
      const offsets = entries.map((text) => {
        const offset = Buffer.alloc(8);
        end += text.length + 1;
        offset.writeBigUInt64BE(BigInt(end));
        return offset;
      });
      await writeFile(file(log, 'offsets'), Buffer.concat(offsets));
    },
  };
}

/** @param makeRecords of an empty bucket. */
export function bucketLogs(
  makeRecords: () => Promise<StoreBackend> = async () => new MemoryBackend(),
): LogMaker {
  const make = async () => new BucketLog({ records: await makeRecords(), where: 's3://bucket/state' });
  const keysOf = async (records: StoreBackend) => {
    const keys: string[] = [];
    for (const name of await records.list('log'))
      if (!name.endsWith('/')) keys.push(`log/${name}`);
      else
        for (const below of await records.list(`log/${name.slice(0, -1)}`)) keys.push(`log/${name}${below}`);
    return keys;
  };
  const removeFrom = async (records: StoreBackend, keyOf: (index: number) => string, from: number) => {
    for (const key of await keysOf(records)) {
      const index = Number(key.slice(-15));
      if (key === keyOf(index) && index >= from) await records.remove(key);
    }
  };
  return {
    make,
    async copy({ records }) {
      const log = await make();
      for (const key of await keysOf(records)) {
        const found = await records.get(key);
        if (found) await log.records.put(key, found.bytes);
      }
      return log;
    },
    async rewrite({ records }, entries) {
      await removeFrom(records, entryKey, entries.length);
      for (const [index, text] of entries.entries())
        await records.put(entryKey(index), Buffer.from(text, 'latin1'));
    },
    forget: ({ records }, from) => removeFrom(records, nodesKey, from),
    async rederive({ records }) {
      const entries: string[] = [];
      for (;;) {
        const found = await records.get(entryKey(entries.length));
        if (!found) break;
        entries.push(Buffer.from(found.bytes).toString('latin1'));
      }
      await removeFrom(records, nodesKey, 0);
      for (const [index, hashes] of hashesOf(entries).entries()) await records.put(nodesKey(index), hashes);
    },
  };
}
