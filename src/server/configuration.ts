import { z } from 'zod';
import { readOperatorFile } from '../files/operator-file.ts';

/** `serve --config FILE`: what an operator may change, and nothing that arrives over a network ever can. */
const CONFIGURATION = z.strictObject({
  /**
   * Lets loaders that cannot verify (a stock iPXE) start kernel and initrds unverified. Every page, log line
   * and screen then says so.
   */
  allow_unverified_loaders: z.boolean().default(false),
  /** Hours after which everything that is served is read and held against its digest again; 0: never. */
  scrub_hours: z.number().min(0).max(336).default(24),
});

export type Configuration = z.infer<typeof CONFIGURATION>;

export const DEFAULT_CONFIGURATION: Configuration = CONFIGURATION.parse({});

/** Reads a configuration file. Throws a `Refusal`. */
export function readConfiguration(path: string): Promise<Configuration> {
  return readOperatorFile(path, CONFIGURATION);
}
