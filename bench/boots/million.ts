import { bootId, encodeReceipt, type Receipt } from '../../src/boots/receipt.ts';
import { Receipts } from '../../src/boots/receipts.ts';
import { SegmentWriter } from '../../src/boots/segments.ts';

/**
 * Receipts of 10,000 machines, written and then read as a server does when it starts. A process of its own, since what it
 * needs of memory is measured: `node --expose-gc million.js FOLDER BOOTS` prints one line of JSON.
 */

/** Seconds, and megabytes of this process. */
export interface Told {
  readonly write: number;
  readonly read: number;
  readonly queries: Readonly<Record<string, number>>;
  readonly memory: number;
}

const MACHINES = 10_000;
const STAGES = ['dhcp', 'loader', 'script', 'kernel', 'initrd', 'userspace', 'root', 'report'] as const;
const START = Date.UTC(2026, 0, 1);
const EVERY = 30_000;

const [, , folder, boots] = process.argv;
if (folder !== undefined) await main(folder, Number(boots));

async function main(folder: string, boots: number): Promise<void> {
  const forever = {
    clock: () => START,
    keepMs: Number.MAX_SAFE_INTEGER,
    keepBytes: Number.MAX_SAFE_INTEGER,
  };
  const writer = await SegmentWriter.open(folder, 'bench', forever);
  const write = await timed(async () => {
    for (let at = 0; at < boots; at += 1) await writer.append(encodeReceipt(receiptOf(at)));
  });
  await writer.close();
  const receipts = new Receipts(folder);
  const read = await timed(() => receipts.read());
  const day = START + boots * EVERY - 86_400_000;
  const middle = (await receipts.find({}, 1, bootId(START + (boots >> 1) * EVERY, boots >> 1)))[0];
  const queries = {
    'the last 50': await timed(() => receipts.find({}, 50)),
    'the last 50 of one machine': await timed(() => receipts.find({ machine: macOf(4711) }, 50)),
    'the last 50 that failed': await timed(() => receipts.find({ failed: true }, 50)),
    'the last 50 of one release': await timed(() => receipts.find({ release: 'arch/2026.07.01' }, 50)),
    '50 from the middle on': await timed(() => receipts.find({}, 50, middle?.boot)),
    'share verified of the last day': await timed(() => receipts.count({ since: day })),
    'share verified of all': await timed(() => receipts.count({})),
    'one boot by its id': await timed(() => receipts.get(bootId(START, 0))),
    'every machine': await timed(() => receipts.index.machines()),
  };
  globalThis.gc?.();
  const told: Told = { write, read, queries, memory: process.memoryUsage().rss / 1e6 };
  console.log(JSON.stringify(told));
}

async function timed(work: () => unknown): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

function macOf(at: number): string {
  const hex = (at % MACHINES).toString(16).padStart(8, '0');
  return `52:54:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}`;
}

function receiptOf(at: number): Receipt {
  const began = START + at * EVERY;
  const bad = at % 97 === 0;
  return {
    boot: bootId(began, at),
    began,
    outcome: bad ? 'refused' : at % 101 === 0 ? 'stalled' : 'verified',
    stage: 'report',
    machine: macOf(at * 7919),
    trust: 'network-imgverify',
    ...(bad ? { code: 'expired', message: 'Its best-before has passed.' } : {}),
    release: `arch/2026.${String((at % 12) + 1).padStart(2, '0')}.01`,
    ended: began + 40_000,
    route: 'ipxe',
    arch: 'x86_64',
    addresses: [`10.${at % 250}.0.7`],
    stages: STAGES.map((stage, index) => ({
      ...{ stage, begin: began + index * 5000, end: began + index * 5000 + 900 },
      ...{ bytes: 1_000_000, outcome: 'complete', join: 'mac', what: `/releases/arch/2026.11.01/${stage}` },
    })),
    lines: [],
  };
}
