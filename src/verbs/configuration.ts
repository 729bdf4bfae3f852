import { z } from 'zod';
import { readOperatorFile } from './operator-file.ts';

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

/** Reads a configuration file. Throws a `Refusal`. */
export function readConfiguration(path: string): Promise<Configuration> {
  return readOperatorFile(path, CONFIGURATION);
}
