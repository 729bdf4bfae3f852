import { parse } from 'smol-toml';
import type { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { readWhole } from './reading.ts';

/**
 * Reads a TOML file of the operator's: configuration, policy.
 *
 * @throws Refusal `absent`; `malformed`, also for an unknown key, since it may be a misspelt safeguard.
 */
export async function readOperatorFile<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
  const text = (await readWhole(path)).toString();
  const malformed = (fact: string) => new Refusal('malformed', `${path}: ${fact}.`, { path });
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    throw malformed((error as Error).message.split('\n')[0] ?? '');
  }
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw malformed([issue?.path.join('.'), issue?.message].filter(Boolean).join(': '));
}
