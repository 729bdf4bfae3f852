import type { Command } from 'commander';
import { UsageError } from '../errors/usage.ts';
import type { KeyholderClient } from '../keyholder/client.ts';

/** The flags of a command that signs with the snapshot key, or has a keyholder do it. */
export interface SignedByOptions {
  readonly state?: string;
  readonly snapshotKey?: string;
  readonly keyholder?: string;
  readonly keyholderUser?: string;
}

export function withKeyholder(command: Command): Command {
  return command
    .option('--keyholder <socket>', 'or ask the keyholder there, which has a state and a key of its own')
    .option('--keyholder-user <name|uid>', 'the user that it runs as, where that is neither root nor you');
}

/**
 * Who is to be asked; undefined: nobody, it is signed here.
 *
 * @param others flags that a keyholder has of its own, with what was given.
 * @throws UsageError for flags that contradict each other.
 */
export async function keyholderOf(
  { state, snapshotKey, keyholder, keyholderUser }: SignedByOptions,
  others: Readonly<Record<string, unknown>> = {},
): Promise<KeyholderClient | undefined> {
  if (keyholder === undefined) {
    if (keyholderUser !== undefined) throw new UsageError('--keyholder-user needs --keyholder.');
    return undefined;
  }
  const own = { '--state': state, '--snapshot-key': snapshotKey, ...others };
  for (const [flag, given] of Object.entries(own))
    if (given !== undefined)
      throw new UsageError(
        `${flag} cannot be given with --keyholder: it is told what shall be done, and has all else of its own.`,
      );
  const { KeyholderClient } = await import('../keyholder/client.ts');
  const { uidOf } = await import('../keyholder/accounts.ts');
  const keyholderUid = keyholderUser === undefined ? undefined : await uidOf(keyholderUser);
  return new KeyholderClient({ socket: keyholder, ...(keyholderUid === undefined ? {} : { keyholderUid }) });
}

/** @throws UsageError */
export function demandState(state: string | undefined): string {
  if (state !== undefined) return state;
  throw new UsageError('Name the folder of the state with --state, or a keyholder with --keyholder.');
}
