import { createHash, randomBytes } from 'node:crypto';
import { link, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { codeOf, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere, readIfThere } from '../files/read-if-there.ts';
import { isReleaseId, isSafePath } from '../formats/records/safe-path.ts';
import { decodeSnapshot } from '../formats/records/snapshot.ts';
import { decodeOr } from '../trust/check.ts';
import { moveChannel, readChannel } from './channels.ts';
import { cleanFolder, recordsOf } from './folder-backend.ts';
import { objectKey } from './objects.ts';
import { PROVENANCE, provenanceKey, writeProvenance } from './provenance.ts';
import type { ReleaseChange } from './release-shelf.ts';
import { objectPath, storeBytes } from './release-store.ts';
import { encodeStateJson, readStateJson } from './state-json.ts';
import { markWebBehind, refreshWeb } from './web-folder.ts';

/**
 * The records of a release that was signed anew take the place of the old ones, and its channels move: all of it
 * or nothing. What is to be done is written down first (`STATE/private/journal.json`, where nobody but the owner puts
 * anything); from then on it is the truth, and whoever opens the state next does what a crash left undone.
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
  provenance: PROVENANCE,
});

type Journal = z.infer<typeof JOURNAL>;

const KEY = 'private/journal.json';

/** Makes a change, whole. The state is the caller's while it does (`openState`). Throws an `IoError`. */
export async function changeRelease(state: string, change: ReleaseChange): Promise<void> {
  const { release, to, from, channels, provenance, now } = change;
  const records: Journal['records'] = [];
  for (const [path, bytes] of change.records) {
    await storeBytes(state, bytes, now);
    records.push({ path, sha256: createHash('sha256').update(bytes).digest('hex') });
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
  await recordsOf(state).put(KEY, encodeStateJson(JOURNAL.parse(journal)));
  await finishChange(state);
}

/** Keeps records as they were before they are replaced: links to the very files, so nothing is copied or lost. */
async function keepEarlier(
  state: string,
  release: string,
  manifestSha256: string,
  paths: Iterable<string>,
): Promise<void> {
  const folder = join(state, provenanceKey(release, 'earlier', manifestSha256));
  const folders = new Set([folder]);
  await makeFolders(folder);
  for (const path of paths) {
    const to = join(folder, path);
    await makeFolders(dirname(to));
    for (let at = dirname(to); at !== folder; at = dirname(at)) folders.add(at);
    try {
      await link(join(state, 'releases', release, path), to);
    } catch (error) {
      // A file that the new release adds has no earlier one; after a crash it may be here already.
      if (codeOf(error) !== 'EEXIST' && !isAbsent(error)) throw explain(error, to);
    }
  }
  for (const at of [...folders].reverse()) await syncDirectory(at);
}

/**
 * Does what the journal says is to be done, as often as it takes; nothing where there is none. The state is the
 * caller's.
 */
export async function finishChange(state: string): Promise<void> {
  const journal = await readStateJson(recordsOf(state), KEY, JOURNAL);
  if (!journal) return;
  const { release, to, records, channels, provenance } = journal.value;
  await markWebBehind(state);
  const target = join(state, 'releases', to);
  const renamed = release !== to && (await isThere(target));
  const folder = renamed ? target : join(state, 'releases', release);
  try {
    const folders = new Set<string>();
    for (const { path, sha256 } of records) {
      folders.add(dirname(join(folder, path)));
      await place(state, sha256, join(folder, path));
    }
    for (const at of folders) await syncDirectory(at);
    if (folder !== target) {
      await makeFolders(dirname(target));
      await rename(folder, target);
      await syncDirectory(dirname(target));
      await syncDirectory(dirname(folder));
    }
  } catch (error) {
    throw explain(error, folder);
  }
  await writeProvenance(state, provenance);
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
  await refreshWeb(state);
  await recordsOf(state).compareAndSwap(KEY, journal.version, undefined);
}

async function place(state: string, sha256: string, path: string): Promise<void> {
  const object = await recordsOf(state).get(objectKey(sha256));
  if (!object || createHash('sha256').update(object.bytes).digest('hex') !== sha256) {
    throw new Refusal('drifted', `The object ${sha256} that the journal names is gone or changed.`, {
      sha256,
    });
  }
  const there = await readIfThere(path);
  if (there && Buffer.compare(there, object.bytes) === 0) return;
  await cleanFolder(dirname(path));
  const draft = join(dirname(path), `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  await link(objectPath(state, sha256), draft);
  try {
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {});
    throw error;
  }
}
