import { parse } from 'smol-toml';
import type { z } from 'zod';
import { UsageError } from '../errors/usage.ts';
import { readIfThere } from './read-if-there.ts';

/**
 * Reads a TOML file of the operator's: configuration, policy, signers, what a tree holds.
 *
 * @throws UsageError where it is not there or does not say what can be meant; IoError.
 */
export async function readOperatorFile<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
  const text = await readIfThere(path);
  if (text === undefined) throw new UsageError(`${path} does not exist.`);
  return parseOperatorFile(path, text.toString('utf8'), schema);
}

/** The same of a file that was read. An unknown key is refused, since it may be a misspelt safeguard. @throws UsageError */
export function parseOperatorFile<T extends z.ZodType>(path: string, text: string, schema: T): z.infer<T> {
  const wrong = (fact: string) => new UsageError(`${path}: ${fact}.`);
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    const [why = ''] = (error as Error).message.split('\n');
    throw new UsageError(`${path} is not TOML: ${why.replace(/^Invalid TOML document: /, '')}.`);
  }
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw wrong([issue?.path.join('.'), issue?.message].filter(Boolean).join(': '));
}
