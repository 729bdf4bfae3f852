import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { encodeReleaseList, type ReleaseList } from '../formats/records/release-list.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { decodeSnapshot } from '../formats/records/snapshot.ts';
import { decodeOr } from '../trust/check.ts';
import type { StoreBackend } from './backend.ts';
import { bytesFile, listKey, listOf, removeCopies, storeObject, writeCopies } from './bucket-store.ts';
import { channelHistory, channelStandsAt, moveChannel, type NextSnapshot } from './channels.ts';
import { objectKey } from './objects.ts';
import { PROVENANCE, provenanceKey, writeProvenance } from './provenance.ts';
import type { ReleaseChange } from './release-shelf.ts';
import { encodeStateJson, readStateJson } from './state-json.ts';

/*
 * A release of a bucket that was signed anew, and its channels: several records that must change together, where nothing
 * keeps another writer away. What is to be done is written down first, where there may be one of its kind
 * (`change/journal.json`); whoever opens the state next does what is left of it.
 *
 * The first channel moves before the list does: if somebody else has moved it meanwhile, nothing was changed yet, and the
 * change is given up. Whatever comes after is decided then, and done by as many as like.
 */

const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);
const RELEASE = z.string().refine(isReleaseId);

const JOURNAL = z.strictObject({
  'bootseal-change': z.literal(1),
  release: RELEASE,
  /** Its name from now on. */
  to: RELEASE,
  /** SHA-256 of its list as it is, and of the one that takes its place (`change/<sha256>`). */
  before: SHA256,
  after: SHA256,
  /** Snapshots, signed already (base64), and the counters of those that they follow. */
  channels: z.array(
    z.strictObject({ snapshot: z.base64(), seal: z.base64(), follows: z.int().min(0).max(1e15) }),
  ),
  provenance: PROVENANCE,
});

type Journal = z.infer<typeof JOURNAL>;

const KEY = 'change/journal.json';
const stagedKey = (sha256: string) => `change/${sha256}`;

/**
 * Makes a change, whole.
 *
 * @throws UsageError where somebody else changes the state at the same time: nothing was changed then. IoError.
 */
export async function changeInBucket(
  state: string,
  records: StoreBackend,
  change: ReleaseChange,
): Promise<void> {
  const { release, to, from, provenance, now } = change;
  const record = await records.get(listKey(release));
  if (!record) throw meanwhile(release);
  const list = listOf(listKey(release), record.bytes, release);
  const wanted = new Map(list.files.map((entry) => [entry.path, entry]));
  for (const [path, bytes] of change.records) {
    const file = bytesFile(path, bytes);
    await storeObject(records, file, now);
    wanted.set(path, { path, size: file.size, sha256: file.sha256 });
  }
  await keepEarlier(records, list, from, change.records.keys());
  const after = encodeReleaseList({ release: to, files: [...wanted.values()] });
  await records.put(stagedKey(digestOf(after)), after);
  const journal: Journal = {
    'bootseal-change': 1,
    release,
    to,
    before: digestOf(record.bytes),
    after: digestOf(after),
    channels: change.channels.map(({ bytes, seal, follows }) => ({
      snapshot: base64(bytes),
      seal: base64(seal),
      follows,
    })),
    provenance,
  };
  if (!(await records.putIfAbsent(KEY, encodeStateJson(JOURNAL.parse(journal)))))
    throw new UsageError(`Somebody else is changing a release in ${state}; try again.`);
  const givenUp = await finishBucketChange(state, records);
  if (givenUp) throw givenUp;
}

/**
 * Does what the journal says is to be done, as often as it takes; nothing where there is none.
 *
 * @returns why it was given up, all of it or in part: others had moved what it was to change.
 */
export async function finishBucketChange(
  state: string,
  records: StoreBackend,
): Promise<UsageError | undefined> {
  const journal = await readStateJson(records, KEY, JOURNAL);
  if (!journal) return undefined;
  const { release, to, after, provenance } = journal.value;
  const end = async () => {
    await records.compareAndSwap(KEY, journal.version, undefined);
    await records.remove(stagedKey(after));
  };
  const staged = await records.get(stagedKey(after));
  if (!staged || digestOf(staged.bytes) !== after) {
    // Whoever ended it took that away; and if it was lost, it would stand in everybody's way for good.
    await end();
    const { bytes } = (await records.get(listKey(to))) ?? {};
    return bytes && digestOf(bytes) === after ? undefined : meanwhile(release);
  }
  const [first, ...others] = journal.value.channels.map((one) => storedOf(one));
  if (first && !(await moves(state, first))) {
    await end();
    return meanwhile(release);
  }
  if (!(await changeList(records, journal.value, staged.bytes))) {
    await end();
    return meanwhile(release);
  }
  const { files } = listOf(stagedKey(after), staged.bytes, to);
  await writeCopies(records, to, files);
  if (release !== to) await removeCopies(records, release, files);
  await writeProvenance(state, provenance);
  const left: string[] = [];
  for (const one of others) if (!(await moves(state, one))) left.push(one.snapshot.channel);
  await end();
  if (left.length === 0) return undefined;
  return new UsageError(
    `${to} was signed anew, and somebody else moved ${left.join(', ')} meanwhile: publish it there again.`,
  );
}

/** True once the list is the one that it shall be; false where it is neither that nor the one before. */
async function changeList(
  records: StoreBackend,
  { release, to, before, after }: Journal,
  bytes: Uint8Array,
): Promise<boolean> {
  for (;;) {
    const old = await records.get(listKey(release));
    const stands = old && digestOf(old.bytes);
    if (release !== to) {
      if (!(await records.putIfAbsent(listKey(to), bytes))) {
        const there = await records.get(listKey(to));
        if (!there || digestOf(there.bytes) !== after) return false;
      }
      if (stands !== before) return true;
      if (await records.compareAndSwap(listKey(release), old?.version, undefined)) return true;
      continue;
    }
    if (stands === after) return true;
    if (stands !== before) return false;
    if (await records.compareAndSwap(listKey(release), old?.version, bytes)) return true;
  }
}

/** Moves a channel, or finds that it was moved; false where somebody else was first. */
async function moves(state: string, next: NextSnapshot): Promise<boolean> {
  const { snapshot, bytes, follows } = next;
  const { channel, counter } = snapshot;
  try {
    if ((await channelStandsAt(state, channel)) === follows) await moveChannel(state, next, follows);
  } catch (error) {
    if (!(error instanceof Refusal && error.code === 'rolled-back')) throw error;
  }
  const counted = (await channelHistory(state, channel)).find(({ snapshot }) => snapshot.counter === counter);
  return counted !== undefined && Buffer.compare(counted.bytes, bytes) === 0;
}

function storedOf({ snapshot, seal, follows }: Journal['channels'][number]): NextSnapshot {
  const bytes = Buffer.from(snapshot, 'base64');
  return {
    snapshot: decodeOr('A snapshot in the journal', () => decodeSnapshot(bytes)),
    bytes,
    seal: Buffer.from(seal, 'base64'),
    follows,
  };
}

/** Keeps records as they were before they are replaced, by copies that the engine makes. */
async function keepEarlier(
  records: StoreBackend,
  { release, files }: ReleaseList,
  manifestSha256: string,
  paths: Iterable<string>,
): Promise<void> {
  const before = new Map(files.map(({ path, sha256 }) => [path, sha256]));
  for (const path of paths) {
    const sha256 = before.get(path);
    // A file that the new release adds has no earlier one.
    if (sha256 === undefined) continue;
    await records.copy(objectKey(sha256), provenanceKey(release, 'earlier', manifestSha256, path));
  }
}

function meanwhile(release: string): UsageError {
  return new UsageError(`Somebody else changed ${release} or its channel meanwhile; try again.`);
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
