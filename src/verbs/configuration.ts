import { readFile } from 'node:fs/promises';
import { parse } from 'smol-toml';
import { z } from 'zod';
import { Refusal } from '../release/refusal.ts';

/** `serve --config FILE`: what an operator may loosen, and nothing that arrives over a network ever can. */
const CONFIGURATION = z.strictObject({
  /**
   * Lets loaders that cannot verify (a stock iPXE) start kernel and initrds unverified. Every page, log line
   * and screen then says so.
   */
  allow_unverified_loaders: z.boolean().default(false),
});

export type Configuration = z.infer<typeof CONFIGURATION>;

export const DEFAULT_CONFIGURATION: Configuration = CONFIGURATION.parse({});

/** Reads a configuration file. Throws a `Refusal`; an unknown key is one, since it may be a misspelt safeguard. */
export async function readConfiguration(path: string): Promise<Configuration> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Refusal('absent', `${path} cannot be read: ${error.code}.`, { path });
  });
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    throw malformedToml(path, (error as Error).message.split('\n')[0] ?? '');
  }
  const result = CONFIGURATION.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw malformedToml(path, [issue?.path.join('.'), issue?.message].filter(Boolean).join(': '));
}

/** A file of the operator's that is no TOML, or holds what it may not. */
export function malformedToml(path: string, fact: string): Refusal {
  return new Refusal('malformed', `${path}: ${fact}.`, { path });
}
