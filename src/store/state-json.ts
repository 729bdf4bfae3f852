import type { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { mistakeInWords, OUR_WORDS } from '../errors/schema-words.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import type { StoreBackend, Version } from './backend.ts';

/** Small records of a state as JSON: strict, and with one way to be written. */

export function encodeStateJson(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
}

/** A record that was read, and what it must still be when it is replaced. */
export interface ReadJson<T> {
  readonly value: T;
  readonly version: Version;
}

/**
 * Undefined where there is no such record.
 *
 * @throws Refusal `malformed` for one that does not follow its form to the byte: somebody wrote into it. IoError.
 */
export async function readStateJson<T>(
  records: StoreBackend,
  key: string,
  schema: z.ZodType<T>,
): Promise<ReadJson<T> | undefined> {
  const record = await records.get(key);
  if (!record) return undefined;
  return { value: decodeStateJson(key, record.bytes, schema), version: record.version };
}

/** The same of bytes that were read. @param key for messages. Throws as `readStateJson`. */
export function decodeStateJson<T>(key: string, bytes: Uint8Array, schema: z.ZodType<T>): T {
  const result = schema.safeParse(parse(bytes), OUR_WORDS);
  if (result.success && Buffer.compare(encodeStateJson(result.data), bytes) === 0) return result.data;
  const why = result.error ? mistakeInWords(result.error) : 'it was written otherwise';
  throw new Refusal('malformed', `${key} is not as it was written: ${why}.`, { path: key });
}

/** `2026-11-01T00:00:00Z`, and nothing that only looks like a time. */
export function isStateTime(text: string): boolean {
  const time = Date.parse(text);
  return !Number.isNaN(time) && isoSeconds(time) === text;
}

/** The time of a record: whole seconds. */
export function stateTime(time: number): string {
  return isoSeconds(Math.floor(time / 1000) * 1000);
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}
