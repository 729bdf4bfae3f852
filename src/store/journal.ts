import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { explain, removeTemporaries, syncDirectory, writeFileAtomically } from '../files/atomic-file.ts';
import { isReleaseId, isSafePath } from '../formats/records/safe-path.ts';
import { decodeSnapshot } from '../formats/records/snapshot.ts';
import { decodeOr } from '../trust/check.ts';
import { moveChannel, readChannel, type StoredSnapshot } from './channels.ts';
import { keepEarlier, type Provenance, writeProvenance } from './provenance.ts';
import { objectPath, storeBytes } from './release-store.ts';
import { encodeStateJson, readStateJson } from './state-json.ts';

/**
 * The records of a release that was signed anew take the place of the old ones, and its channels move: all of it
 * or nothing. What is to be done is written down first (`STATE/journal.json`); from then on it is the truth, and
 * whoever opens the state next does what a crash left undone.
 *
 * The release's folder stays, and so does every file of its payload: a server that runs has them open, and would
 * take a file whose link count changed for one that drifted.
 */
const JOURNAL = z.strictObject({
  'bootseal-journal': z.literal(1),
  release: z.string().refine(isReleaseId),
  /** Its name from now on. */
  to: z.string().refine(isReleaseId),
  /** Paths in the release, and which objects they are from now on. */
  records: z.array(
    z.strictObject({ path: z.string().refine(isSafePath), sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  ),
  /** Snapshots, signed already; base64. */
  channels: z.array(z.strictObject({ snapshot: z.base64(), seal: z.base64() })),
  provenance: z.unknown(),
});

type Journal = z.infer<typeof JOURNAL>;

/** A release that was signed anew. */
export interface ReleaseChange {
  readonly release: string;
  readonly to: string;
  /** SHA-256 of the manifest that it has until now. */
  readonly from: string;
  /** The records that change, by path: verified bytes. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** The next snapshots of the channels that name it. */
  readonly channels: readonly StoredSnapshot[];
  readonly provenance: Provenance;
}

const pathOf = (state: string) => join(state, 'journal.json');

/** Makes a change, whole. The state is the caller's while it does (`openState`). Throws an `IoError`. */
export async function changeRelease(state: string, change: ReleaseChange): Promise<void> {
  const { release, to, from, channels, provenance } = change;
  const records: Journal['records'] = [];
  try {
    for (const [path, bytes] of change.records) {
      const object = await storeBytes(state, bytes);
      records.push({ path, sha256: object.split('/').slice(-2).join('') });
    }
    await keepEarlier(state, release, from, change.records.keys());
    const journal: Journal = {
      'bootseal-journal': 1,
      release,
      to,
      records,
      channels: channels.map(({ bytes, seal }) => ({
        snapshot: Buffer.from(bytes).toString('base64'),
        seal: Buffer.from(seal).toString('base64'),
      })),
      provenance,
    };
    await writeFileAtomically(pathOf(state), encodeStateJson(journal));
    await finishChange(state);
  } catch (error) {
    throw explain(error, join(state, 'releases', release));
  }
}

/**
 * Does what the journal says is to be done, as often as it takes; nothing where there is none. The state is the
 * caller's.
 */
export async function finishChange(state: string): Promise<void> {
  const journal = await readStateJson(pathOf(state), JOURNAL);
  if (!journal) return;
  const { release, to, records, channels, provenance } = journal;
  const target = join(state, 'releases', to);
  const renamed = release !== to && (await exists(target));
  const folder = renamed ? target : join(state, 'releases', release);
  const folders = new Set<string>();
  for (const { path, sha256 } of records) {
    folders.add(dirname(join(folder, path)));
    await place(objectPath(state, sha256), join(folder, path));
  }
  for (const at of folders) await syncDirectory(at);
  if (folder !== target) {
    await mkdir(dirname(target), { recursive: true });
    await rename(folder, target);
    await syncDirectory(dirname(target));
    await syncDirectory(dirname(folder));
  }
  await writeProvenance(state, provenance as Provenance);
  for (const { snapshot, seal } of channels) {
    const bytes = Buffer.from(snapshot, 'base64');
    const stored = {
      snapshot: decodeOr('A snapshot in the journal', () => decodeSnapshot(bytes)),
      bytes,
      seal: Buffer.from(seal, 'base64'),
    };
    const current = await readChannel(state, stored.snapshot.channel);
    if (!current || Buffer.compare(current.bytes, bytes) !== 0) await moveChannel(state, stored);
  }
  await rm(pathOf(state));
  await syncDirectory(state);
}

async function place(object: string, path: string): Promise<void> {
  const wanted = await readFile(object);
  const there = await readFile(path).catch(() => undefined);
  if (there && Buffer.compare(there, wanted) === 0) return;
  await removeTemporaries(dirname(path));
  const draft = join(dirname(path), `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  await link(object, draft);
  await rename(draft, path);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
