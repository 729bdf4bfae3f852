import { readFile } from 'node:fs/promises';
import { parse } from 'smol-toml';
import type { z } from 'zod';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';

/**
 * Reads a TOML file of the operator's: configuration, policy, signers, what a tree holds.
 *
 * @throws UsageError where it is not there, is no TOML or holds what cannot be meant, an unknown key among that, since
 *   it may be a misspelt safeguard; IoError where it cannot be read.
 */
export async function readOperatorFile<T extends z.ZodType>(path: string, schema: T): Promise<z.infer<T>> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw isAbsent(error) ? new UsageError(`${path} does not exist.`) : cannotRead(path, error);
  });
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
  throw new UsageError(`${path}: ${[issue?.path.join('.'), issue?.message].filter(Boolean).join(': ')}.`);
}
