import { Refusal } from '../errors/refusal.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { decodeSealList, type SealList } from '../formats/records/seal-list.ts';
import { decodeOr } from '../trust/check.ts';
import { VOUCHING } from '../trust/log-proof-check.ts';
import { readSealList } from './log-files.ts';
import { readLogEntries } from './log-proof.ts';

/** What a state's own log says that a release is made of, since it was published or signed anew last. */
export interface LoggedRelease {
  /** Lower-case hex SHA-256 of its manifest, which lists the payload. */
  readonly manifest: string;
  /** Every script, record and seal by path. */
  readonly seals: SealList;
}

/** Whether an entry says what a release is made of. */
export function tellsContents({ act, manifest, seals }: LogEntry): boolean {
  return (VOUCHING.has(act) || act === 'pull') && manifest !== undefined && seals !== undefined;
}

/**
 * Of every release in the log what its newest entry says. One whose records are more than a list of seals holds is not
 * among them.
 *
 * @throws Refusal `absent` where there is no log, `malformed`, `drifted`; IoError.
 */
export async function loggedReleases(state: string): Promise<ReadonlyMap<string, LoggedRelease>> {
  const newest = new Map<string, LogEntry>();
  await readLogEntries(state, ({ entry }) => {
    if (entry.release !== undefined && tellsContents(entry)) newest.set(entry.release, entry);
  });
  const found = new Map<string, LoggedRelease>();
  for (const [release, { index, manifest = '', seals = '' }] of newest) {
    const list = await readSealList(state, seals);
    if (!list) {
      throw new Refusal(
        'drifted',
        `The list of seals that entry ${index} of the log names is gone or changed.`,
        { index },
      );
    }
    found.set(release, {
      manifest,
      seals: decodeOr('The list of seals', () => decodeSealList(list)),
    });
  }
  return found;
}
