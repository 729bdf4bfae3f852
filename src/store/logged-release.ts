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
 * Of every release in the log what its entries say, the newest last, each once. What was signed anew has several: of those
 * the newest may be of an act that a crash cut short. One whose records are more than a list of seals holds is not among
 * them.
 *
 * @throws Refusal `absent` where there is no log, `malformed`, `drifted`; IoError.
 */
export async function loggedReleases(state: string): Promise<ReadonlyMap<string, readonly LoggedRelease[]>> {
  const told = new Map<string, LogEntry[]>();
  await readLogEntries(state, ({ entry }) => {
    if (entry.release === undefined || !tellsContents(entry)) return;
    const same = ({ manifest, seals }: LogEntry) => manifest === entry.manifest && seals === entry.seals;
    const before = (told.get(entry.release) ?? []).filter((one) => !same(one));
    told.set(entry.release, [...before, entry]);
  });
  const found = new Map<string, LoggedRelease[]>();
  for (const [release, entries] of told) {
    const all: LoggedRelease[] = [];
    for (const { index, manifest = '', seals = '' } of entries) {
      const list = await readSealList(state, seals);
      if (!list)
        throw new Refusal(
          'drifted',
          `The list of seals that entry ${index} of the log names is gone or changed.`,
          { index },
        );
      all.push({ manifest, seals: decodeOr('The list of seals', () => decodeSealList(list)) });
    }
    found.set(release, all);
  }
  return found;
}
