import { hostname } from 'node:os';
import type { FindBootFile } from '../boots/boot-files.ts';
import { Boots, type BootsOptions } from '../boots/boots.ts';
import type { ReceiptLines } from '../boots/memory-lines.ts';
import { Receipts } from '../boots/receipts.ts';
import { readPlace, SegmentWriter } from '../boots/segments.ts';
import type { Log } from '../serve/event-log.ts';
import type { Shares } from '../serve/shares.ts';
import type { Configuration } from './configuration.ts';
import { neighbours } from './neighbours.ts';

export interface BootDeskOptions {
  /** Where receipts are kept; undefined: the last ones are in memory. */
  readonly folder: string | undefined;
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
/** Seconds between two looks at what other servers wrote. */
const LOOK_EVERY = 5;

/** Whatever keeps receipts from being written keeps no machine from booting. */
export async function openBootDesk(options: BootDeskOptions): Promise<BootDesk> {
  const { folder, find, shares, clock, monotonic, log, configuration } = options;
  const { patience } = configuration.receipts;
  const neighbour = neighbours(monotonic);
  const usual: BootsOptions = { find, shares, clock, monotonic, log, neighbour, patience };
  const writer = folder === undefined ? undefined : await openWriter(folder, configuration, clock, log);
  if (folder === undefined || writer === undefined) {
    const boots = new Boots(usual);
    const warnings =
      folder === undefined ? [] : ['receipts of boots are kept in memory alone, and end with this server'];
    const loaded = Promise.resolve();
    return { boots, warnings, loaded, tick: () => boots.tick(), close: () => boots.close() };
  }
  const keepBytes = configuration.receipts.keep_mib * MIB;
  const boots = new Boots({ ...usual, lines: folderLines(folder, writer), keepBytes });
  const written = new Receipts(folder, boots.index);
  const look = async (except?: string): Promise<void> => {
    try {
      const told = await written.read(0, except);
      // What was written before this server began is no news.
      if (except !== undefined) await boots.told(told);
    } catch (error) {
      log.error({ err: error }, 'receipts of boots cannot be read');
    }
  };
  // A million lines take seconds; machines boot meanwhile.
  let looking: Promise<void> | undefined = look()
    .then(() => boots.resume(writer.series))
    .finally(() => {
      looking = undefined;
    });
  const loaded = looking;
  boots.awaitHistory(loaded);
  let seconds = 0;
  return {
    boots,
    get warnings() {
      const { fault } = boots;
      return fault === undefined ? [] : [`receipts of boots are not written at the moment: ${fault}`];
    },
    loaded,
    tick() {
      boots.tick();
      seconds += 1;
      if (seconds % LOOK_EVERY === 0)
        looking ??= look(writer.series).finally(() => {
          looking = undefined;
        });
    },
    async close() {
      await looking;
      await boots.close();
    },
  };
}

async function openWriter(
  folder: string,
  { receipts }: Configuration,
  clock: () => number,
  log: Log,
): Promise<SegmentWriter | undefined> {
  const retention = { clock, keepMs: receipts.keep_days * DAY, keepBytes: receipts.keep_mib * MIB };
  try {
    return await SegmentWriter.open(folder, hostname(), retention);
  } catch (error) {
    log.error({ err: error }, 'receipts of boots are kept in memory alone; nothing else can be had');
    return undefined;
  }
}

function folderLines(folder: string, writer: SegmentWriter): ReceiptLines {
  return {
    append: (line) => writer.append(line),
    read: (place) => readPlace(folder, place),
    collect: () => writer.collect(),
    close: () => writer.close(),
  };
}
