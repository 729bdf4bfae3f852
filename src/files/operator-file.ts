import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import { mistakeInWords, OUR_WORDS } from '../errors/schema-words.ts';
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
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    throw notToml(path, error);
  }
  const result = schema.safeParse(raw, OUR_WORDS);
  if (result.success) return result.data;
  throw new UsageError(`${path}: ${mistakeInWords(result.error)}.`);
}

/** What a text is that is no TOML: where, which is what whoever wrote it looks for. */
export function notToml(path: string, error: unknown): UsageError {
  if (!(error instanceof TomlError)) throw error;
  const twice = /redefine|already defined/.test(error.message) ? ', since a key stands twice' : '';
  return new UsageError(
    `${path}, line ${error.line}: it is not TOML from column ${error.column} on${twice}.`,
    { cause: error },
  );
}
