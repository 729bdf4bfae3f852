import { UsageError } from '../../errors/usage.ts';
import type { Waiting } from '../signers/time-limit.ts';

/** How the private keys of a folder are come by: who waits for a signer, and who knows the passphrases. */
export interface KeyAccess extends Waiting {
  readonly passphrase?: AskPassphrase;
}

/** Of what a command was told, as far as it was. */
export function accessOf({ ended, passphrase }: Pick<KeyAccess, 'ended' | 'passphrase'>): KeyAccess {
  return { ...(ended ? { ended } : {}), ...(passphrase ? { passphrase } : {}) };
}

/**
 * Asks for the passphrase of a key. It is kept nowhere and never logged.
 *
 * @param path of the key, for a prompt.
 * @param attempt from 1.
 * @returns undefined where nobody can be asked, or nobody answers any more.
 */
export type AskPassphrase = (path: string, attempt: number) => Promise<string | undefined>;

/** A person mistypes; a program that gives the wrong one three times will not find the right one. */
const ATTEMPTS = 3;

/**
 * Opens what a passphrase protects.
 *
 * @param open undefined where the passphrase is wrong.
 * @throws UsageError where nobody can be asked, or every answer was wrong.
 */
export async function unlocked<T>(
  path: string,
  ask: AskPassphrase | undefined,
  open: (passphrase: string) => Promise<T | undefined>,
): Promise<T> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const passphrase = await ask?.(path, attempt);
    if (passphrase === undefined && attempt === 1) {
      throw new UsageError(
        `${path} has a passphrase, and there is nobody to ask for it: give it with --passphrase-fd N, or run this on a terminal.`,
      );
    }
    if (passphrase === undefined) break;
    const opened = await open(passphrase);
    if (opened !== undefined) return opened;
  }
  throw new UsageError(`The passphrase of ${path} was wrong.`);
}
