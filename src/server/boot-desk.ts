import { hostname } from 'node:os';
import type { FindBootFile } from '../boots/boot-files.ts';
import { Boots, type BootsOptions } from '../boots/boots.ts';
import { BucketLines } from '../boots/bucket-lines.ts';
import { BucketShelf, type SegmentBucket } from '../boots/bucket-shelf.ts';
import type { ReceiptLines } from '../boots/memory-lines.ts';
import { Receipts } from '../boots/receipts.ts';
import { folderShelf, type SegmentShelf } from '../boots/segment-shelf.ts';
import { type Retention, SegmentWriter } from '../boots/segments.ts';
import type { Log } from '../serve/event-log.ts';
import type { Shares } from '../serve/shares.ts';
import type { Configuration } from './configuration.ts';
import { neighbours } from './neighbours.ts';

export interface BootDeskOptions {
  /** Where receipts are kept: a folder, or the bucket of a state. Undefined: the last ones are in memory. */
  readonly place: string | SegmentBucket | undefined;
  readonly configuration: Configuration;
  readonly find: FindBootFile;
  readonly shares: Shares;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly log: Log;
}

/** The boots of a server, and of those that stand beside it at one state. */
export interface BootDesk {
  readonly boots: Boots;
  /** What an operator should know, one sentence each. */
  readonly warnings: readonly string[];
  /** Resolves when what was written before is known. */
  readonly loaded: Promise<void>;
  /** Called every second. */
  tick(): void;
  close(): Promise<void>;
}

const DAY = 86_400_000;
const MIB = 1024 * 1024;
/** Seconds between two looks at what other servers wrote, at least. */
const LOOK_EVERY = 5;
/** Requests that a look may take for each of these seconds: a bucket with many segments is looked at less often. */
const REQUESTS_A_SECOND = 2;

/** Where a server keeps lines, and where it reads what others kept. */
interface Kept {
  readonly lines: ReceiptLines;
  readonly shelf: SegmentShelf;
  /** What this server writes. */
  readonly series: string;
  /** Whether nothing stood in its series when it began. */
  readonly isNew: boolean;
  /** Whether what is under way in a series is for this server to go on with. */
  isOwn(series: string): boolean;
  /** Seconds from one look to the next. */
  pause(): number;
}

/** Whatever keeps receipts from being written keeps no machine from booting. */
export async function openBootDesk(options: BootDeskOptions): Promise<BootDesk> {
  const { place, find, shares, clock, monotonic, log, configuration } = options;
  const { patience } = configuration.receipts;
  const neighbour = neighbours(monotonic);
  const usual: BootsOptions = { find, shares, clock, monotonic, log, neighbour, patience };
  const kept = await keptAt(options);
  if (kept === undefined) {
    const boots = new Boots(usual);
    const warnings =
      place === undefined ? [] : ['receipts of boots are kept in memory alone, and end with this server'];
    const loaded = Promise.resolve();
    return { boots, warnings, loaded, tick: () => boots.tick(), close: () => boots.close() };
  }
  const { lines, shelf, series, isNew } = kept;
  const boots = new Boots({ ...usual, lines, keepBytes: configuration.receipts.keep_mib * MIB });
  const written = new Receipts(shelf, boots.index);
  const closing = new AbortController();
  let isKnown = false;
  let fault: string | undefined;
  const look = async (): Promise<void> => {
    try {
      const told = await written.read(0, isKnown || isNew ? series : undefined, closing.signal);
      if (closing.signal.aborted) return;
      if (isKnown) await boots.told(told);
      else {
        // What was written before this server began is no news.
        isKnown = true;
        await boots.resume((each) => kept.isOwn(each));
      }
      if (fault !== undefined) log.info({}, 'receipts of boots are read again');
      fault = undefined;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (fault !== why) log.error({ err: error }, 'receipts of boots cannot be read');
      fault = why;
    }
  };
  let seconds = 0;
  // A million lines take seconds; machines boot meanwhile.
  let looking: Promise<void> | undefined;
  const begin = (): Promise<void> => {
    looking ??= look().finally(() => {
      looking = undefined;
      seconds = 0;
    });
    return looking;
  };
  const loaded = begin();
  boots.awaitHistory(loaded);
  let pause = LOOK_EVERY;
  return {
    boots,
    get warnings() {
      const why = boots.fault;
      return why === undefined ? [] : [`receipts of boots are not written at the moment: ${why}`];
    },
    loaded,
    tick() {
      boots.tick();
      seconds += 1;
      if (looking === undefined && seconds >= pause)
        void begin().then(() => {
          pause = kept.pause();
        });
    },
    async close() {
      closing.abort();
      await looking;
      await boots.close();
    },
  };
}

/** Undefined where they are kept in memory. */
async function keptAt(options: BootDeskOptions): Promise<Kept | undefined> {
  const { place, clock, monotonic, log, configuration } = options;
  const { keep_days, keep_mib } = configuration.receipts;
  const retention = { clock, keepMs: keep_days * DAY, keepBytes: keep_mib * MIB };
  if (place === undefined) return undefined;
  if (typeof place !== 'string') return inBucket(place, retention, monotonic, log);
  try {
    return inFolder(place, await SegmentWriter.open(place, hostname(), retention));
  } catch (error) {
    log.error({ err: error }, 'receipts of boots are kept in memory alone; nothing else can be had');
    return undefined;
  }
}

function inFolder(folder: string, writer: SegmentWriter): Kept {
  const shelf = folderShelf(folder);
  const { series } = writer;
  const lines: ReceiptLines = {
    append: (line) => writer.append(line),
    read: (place) => shelf.line(place),
    collect: () => writer.collect(),
    close: () => writer.close(),
  };
  return {
    ...{ lines, shelf, series, isNew: false },
    isOwn: (each) => each === series,
    pause: () => LOOK_EVERY,
  };
}

function inBucket(bucket: SegmentBucket, retention: Retention, monotonic: () => number, log: Log): Kept {
  const shelf = new BucketShelf(bucket);
  const lines = new BucketLines({ bucket, shelf, server: hostname(), retention, monotonic });
  return {
    lines: {
      get fault() {
        return lines.fault;
      },
      append: (line) => lines.append(line),
      read: (place) => lines.read(place),
      collect: () => lines.collect(),
      tick: () => lines.tick(),
      // Nothing is held that somebody else waits for: a server ends whatever its bucket says.
      close: () =>
        lines
          .close()
          .catch((error: unknown) => log.error({ err: error }, 'the last receipts of boots are lost')),
    },
    ...{ shelf, series: lines.series, isNew: true },
    isOwn: (each) => lines.isOwn(each),
    pause: () => Math.max(LOOK_EVERY, Math.ceil(shelf.asked / REQUESTS_A_SECOND)),
  };
}
