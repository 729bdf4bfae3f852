import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { isoSeconds } from '../formats/records/lines.ts';

/** Small records of a state folder as JSON: strict, and with one way to be written. */

export function encodeStateJson(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Undefined where there is no such file.
 *
 * @throws Refusal `malformed` for one that does not follow its form to the byte: somebody wrote into it.
 */
export async function readStateJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw unreadable(path, error);
  });
  if (!bytes) return undefined;
  const result = schema.safeParse(parse(bytes));
  if (result.success && Buffer.compare(encodeStateJson(result.data), bytes) === 0) return result.data;
  const issue = result.error?.issues[0];
  const why = issue ? `${issue.path.join('.') || 'top level'}: ${issue.message}` : 'it was written otherwise';
  throw new Refusal('malformed', `${path} is not as it was written: ${why}.`, { path });
}

/** `2026-11-01T00:00:00Z`, and nothing that only looks like a time. */
export function isStateTime(text: string): boolean {
  const time = Date.parse(text);
  return !Number.isNaN(time) && isoSeconds(time) === text;
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}
