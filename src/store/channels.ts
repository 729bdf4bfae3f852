import { Refusal } from '../errors/refusal.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { decodeSnapshot, type Snapshot } from '../formats/records/snapshot.ts';
import { decodeOr } from '../trust/check.ts';
import type { StoreBackend, Version } from './backend.ts';
import { recordsOf } from './folder-backend.ts';
import { readRestored } from './restored.ts';
import { isBucketState } from './s3/location.ts';
import { readFormat } from './state-format.ts';

/**
 * Channels at rest: `channels/NAME/COUNTER/snapshot` and its seal, for every snapshot there ever was, and
 * `channels/NAME/current`, which holds the counter of the one that counts. It is 0 from before the first is written until
 * after, so a channel without `current` and with snapshots has lost something, and is not a new one.
 *
 * Nothing here is removed or written over. What a crash left beyond `current` was never current; the next writer says
 * so beside it (`COUNTER.never-current`) and goes on with a counter above.
 *
 * In a bucket what stands beyond `current` may also be another publisher's, who is about to move the channel: nobody can
 * say of it that it never will be current. So there each snapshot says beside it which one it follows
 * (`COUNTER.follows-OTHER`), before the channel moves to it, and the ones that counted are those that the current one leads
 * back to.
 */

export const SNAPSHOT = 'snapshot';
const CURRENT = 'current';
const NEVER_CURRENT = '.never-current';
const FOLLOWS = '.follows-';

export interface StoredSnapshot {
  readonly snapshot: Snapshot;
  readonly bytes: Uint8Array;
  readonly seal: Uint8Array;
}

/** A snapshot that is about to be a channel's. */
export interface NextSnapshot extends StoredSnapshot {
  /** The counter of the one that it was made after: another in its place would be overruled unseen. 0: none. */
  readonly follows: number;
}

/**
 * Names of channels, sorted. One whose first snapshot was never finished is among them.
 *
 * @throws Refusal `malformed` for a state of another format: whoever reads one begins here.
 */
export async function channelNames(state: string): Promise<string[]> {
  await readFormat(state);
  const names = await recordsOf(state).list('channels');
  return names.filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1));
}

/**
 * The current snapshot of a channel and its seal, unverified, as one: both are of the counter that was current at one
 * moment. Undefined where there is none.
 *
 * @throws Refusal `malformed`, `drifted` where the channel is not whole; `rolled-back` where somebody put it back, as far as
 *   that can be seen; IoError.
 */
export async function readChannel(state: string, channel: string): Promise<StoredSnapshot | undefined> {
  const records = recordsOf(state);
  // Whoever can write to a folder holds its key, as a rule; into a bucket many may write.
  const before = isBucketState(state) ? await readCounters(records, channel) : undefined;
  const current = await readCurrent(records, channel);
  if (before && current) demandNotPutBack(channel, before, current);
  return current && current.counter > 0 ? readSnapshot(records, channel, current.counter) : undefined;
}

/** Every snapshot that was current, the oldest first. Throws as `readChannel`: a history with a hole is none. */
export async function channelHistory(state: string, channel: string): Promise<StoredSnapshot[]> {
  const records = recordsOf(state);
  const current = await readCurrent(records, channel);
  const found: StoredSnapshot[] = [];
  for (const counter of countedOf(channel, await readCounters(records, channel), current))
    found.push(await readSnapshot(records, channel, counter));
  return found;
}

/**
 * The newest snapshots that were current, the newest first.
 *
 * @param before only those with a smaller counter.
 * @throws as `readChannel`.
 */
export async function recentSnapshots(
  state: string,
  channel: string,
  most: number,
  before = Number.POSITIVE_INFINITY,
): Promise<StoredSnapshot[]> {
  const records = recordsOf(state);
  const current = await readCurrent(records, channel);
  const counted = countedOf(channel, await readCounters(records, channel), current);
  const counters = counted.filter((counter) => counter < before);
  const found: StoredSnapshot[] = [];
  for (const counter of counters.slice(-most).reverse())
    found.push(await readSnapshot(records, channel, counter));
  return found;
}

/**
 * The counter that the next snapshot of a channel has: above every one that is there, also of those that a crash left
 * behind, and above what others saw of a state that was restored from a backup.
 */
export async function nextCounter(state: string, channel: string): Promise<number> {
  const records = recordsOf(state);
  const current = await readCurrent(records, channel);
  const { written } = await readCounters(records, channel);
  const restored = await readRestored(state);
  return Math.max(current?.counter ?? 0, written.at(-1) ?? 0, restored?.counter ?? 0) + 1;
}

/** The counter of the snapshot that a channel is at; 0 where it has none. Throws as `readChannel`. */
export async function channelStandsAt(state: string, channel: string): Promise<number> {
  return (await readCurrent(recordsOf(state), channel))?.counter ?? 0;
}

/**
 * Adds a snapshot and moves the channel to it: readers see the old one or the new, with its own seal. What is there already
 * is left as it is, so it may be called again after a crash.
 *
 * @param follows the counter that the channel was at when the snapshot was made; undefined: whatever it is at, since the
 *   state is the caller's.
 * @throws Refusal `rolled-back` where somebody else has moved the channel meanwhile; `drifted` where another snapshot has
 *   that counter.
 */
export async function moveChannel(
  state: string,
  { snapshot, bytes, seal }: StoredSnapshot,
  follows?: number,
): Promise<void> {
  const records = recordsOf(state);
  const { channel, counter } = snapshot;
  const key = (name: string) => `channels/${channel}/${name}`;
  // Throws where a channel has lost its own: it must not become a new one.
  await readCurrent(records, channel);
  await records.putIfAbsent(key(CURRENT), Buffer.from('0\n'));
  const current = await readCurrent(records, channel);
  if (current && follows !== undefined && current.counter !== follows)
    throw movedMeanwhile(channel, current.counter);
  if (!current || current.counter >= counter) throw goesBack(channel, counter, current?.counter);
  const { written, passedOver, followed } = await readCounters(records, channel);
  const left = written.filter((one) => one > current.counter && one < counter && !passedOver.has(one));
  if (isBucketState(state)) {
    // Any number of publishers may have lost, or be at it. One that follows another beyond `current` saw that one current.
    const later = left.find((one) => (followed.get(one) ?? 0) > current.counter);
    if (later !== undefined) throw goesBack(channel, later, current.counter);
    if (!(await isKept(records, key(`${counter}/${SNAPSHOT}`), bytes)))
      throw movedMeanwhile(channel, undefined);
    await records.putIfAbsent(key(`${counter}${FOLLOWS}${current.counter}`), new Uint8Array());
  } else {
    // A crash leaves one. More of them were current once, and somebody has put `current` back.
    if (left.length > 1) throw goesBack(channel, left.at(-1) ?? 0, current.counter);
    for (const one of left) await records.putIfAbsent(key(`${one}${NEVER_CURRENT}`), new Uint8Array());
    await keep(records, key(`${counter}/${SNAPSHOT}`), bytes);
  }
  await keep(records, key(`${counter}/${SNAPSHOT}${SEAL.cms}`), seal);
  const moved = await records.compareAndSwap(key(CURRENT), current.version, Buffer.from(`${counter}\n`));
  if (!moved) throw movedMeanwhile(channel, undefined);
}

/**
 * What follows a snapshot saw that one current: so it was, and a channel that is before it now was put back.
 *
 * @param before read earlier than `current`: channels go on meanwhile.
 */
function demandNotPutBack(channel: string, { followed }: Counters, current: Current): void {
  for (const [counter, other] of followed)
    if (other > current.counter) throw goesBack(channel, counter, current.counter);
}

interface Current {
  /** 0: none yet. */
  readonly counter: number;
  readonly version: Version;
}

async function readCurrent(records: StoreBackend, channel: string): Promise<Current | undefined> {
  const key = `channels/${channel}/${CURRENT}`;
  const record = await records.get(key);
  if (record) {
    const [, counter] = /^(0|[1-9][0-9]{0,14})\n$/.exec(Buffer.from(record.bytes).toString('latin1')) ?? [];
    if (counter !== undefined) return { counter: Number(counter), version: record.version };
    throw new Refusal('malformed', `${key} holds no counter of a snapshot.`, { path: key });
  }
  const { written } = await readCounters(records, channel);
  if (written.length === 0) return undefined;
  // A channel may have begun between the two reads; then it is there now.
  if (await records.get(key)) return readCurrent(records, channel);
  throw new Refusal(
    'drifted',
    `Channel ${channel} has snapshots up to ${written.at(-1)} and no ${key}, which says which of them counts: it was taken away.`,
    { channel, path: key },
  );
}

interface Counters {
  /** Of all snapshots, ascending. */
  readonly written: readonly number[];
  /** Those that never were current. */
  readonly passedOver: ReadonlySet<number>;
  /** Which one each follows, where it says so. */
  readonly followed: ReadonlyMap<number, number>;
}

/** @throws Refusal `drifted` where one follows two. */
async function readCounters(records: StoreBackend, channel: string): Promise<Counters> {
  const written: number[] = [];
  const passedOver = new Set<number>();
  const followed = new Map<number, number>();
  for (const name of await records.list(`channels/${channel}`)) {
    const [, counter, rest, other] =
      /^([1-9][0-9]{0,14})(\/|\.never-current|\.follows-(0|[1-9][0-9]{0,14}))$/.exec(name) ?? [];
    if (rest === '/') written.push(Number(counter));
    else if (rest === NEVER_CURRENT) passedOver.add(Number(counter));
    else if (other !== undefined) {
      if (followed.has(Number(counter)) || Number(other) >= Number(counter))
        throw new Refusal('drifted', `Snapshot ${counter} of ${channel} follows what it cannot: ${name}.`, {
          channel,
        });
      followed.set(Number(counter), Number(other));
    }
  }
  return { written: written.sort((a, b) => a - b), passedOver, followed };
}

/** Counters of the snapshots that were current, ascending. */
function countedOf(
  channel: string,
  { written, passedOver, followed }: Counters,
  current: Current | undefined,
): readonly number[] {
  const there = new Set(written);
  const led: number[] = [];
  let at = current?.counter ?? 0;
  for (let next = followed.get(at); next !== undefined; next = followed.get(at)) {
    if (!there.has(at))
      throw new Refusal(
        'drifted',
        `Snapshot ${at} of ${channel} is missing: it was there, and was taken away.`,
        { channel },
      );
    led.push(at);
    at = next;
  }
  return [...written.filter((one) => one <= at && !passedOver.has(one)), ...led.reverse()];
}

async function readSnapshot(
  records: StoreBackend,
  channel: string,
  counter: number,
): Promise<StoredSnapshot> {
  const key = `channels/${channel}/${counter}/${SNAPSHOT}`;
  const [bytes, seal] = [await demandRecord(records, key), await demandRecord(records, key + SEAL.cms)];
  const snapshot = decodeOr(`the snapshot of ${channel}`, () => decodeSnapshot(bytes));
  if (snapshot.channel !== channel || snapshot.counter !== counter) {
    throw new Refusal(
      'drifted',
      `${key} is snapshot ${snapshot.counter} of ${snapshot.channel}: it was moved.`,
      {
        path: key,
      },
    );
  }
  return { snapshot, bytes, seal };
}

async function demandRecord(records: StoreBackend, key: string): Promise<Uint8Array> {
  const record = await records.get(key);
  if (record) return record.bytes;
  throw new Refusal('drifted', `${key} is missing: it was there, and was taken away.`, { path: key });
}

async function isKept(records: StoreBackend, key: string, bytes: Uint8Array): Promise<boolean> {
  if (await records.putIfAbsent(key, bytes)) return true;
  return Buffer.compare(await demandRecord(records, key), bytes) === 0;
}

async function keep(records: StoreBackend, key: string, bytes: Uint8Array): Promise<void> {
  if (await isKept(records, key, bytes)) return;
  throw new Refusal('drifted', `${key} is there with other content, and is not replaced.`, { path: key });
}

function goesBack(channel: string, counter: number, current: number | undefined): Refusal {
  return new Refusal(
    'rolled-back',
    `Channel ${channel} is at snapshot ${current ?? 'another'}, and ${counter} stands beside it: somebody has moved it meanwhile, or put it back.`,
    { channel, counter, current },
  );
}

/** What who was too late is told. @param current the counter that the channel is at, where that is known. */
export function movedMeanwhile(channel: string, current: number | undefined): Refusal {
  const at = current === undefined ? '' : `, to snapshot ${current}`;
  return new Refusal(
    'rolled-back',
    `Somebody else moved channel ${channel} meanwhile${at}; it is as they left it: try again.`,
    { channel, current },
  );
}
