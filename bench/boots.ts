import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootId, encodeReceipt, type Receipt } from '../src/boots/receipt.ts';
import { Receipts } from '../src/boots/receipts.ts';
import { SegmentWriter } from '../src/boots/segments.ts';

/**
 * A million receipts of 10,000 machines: how long it takes to write them, to read them when a server starts, to answer,
 * and what of the memory of this process that needs.
 *
 *     node --expose-gc dist/bench/boots.js [BOOTS]
 */
const BOOTS = Number(process.argv[2] ?? 1_000_000);
const MACHINES = 10_000;
const STAGES = ['dhcp', 'loader', 'script', 'kernel', 'initrd', 'userspace', 'root', 'report'] as const;
const START = Date.UTC(2026, 0, 1);
const EVERY = 30_000;

const mac = (at: number): string => {
  const hex = (at % MACHINES).toString(16).padStart(8, '0');
  return `52:54:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}`;
};

function receiptOf(at: number): Receipt {
  const began = START + at * EVERY;
  const bad = at % 97 === 0;
  return {
    boot: bootId(began, at),
    began,
    outcome: bad ? 'refused' : at % 101 === 0 ? 'stalled' : 'verified',
    stage: 'report',
    machine: mac(at * 7919),
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

const row = (what: string, value: string): void => console.log(`${what.padEnd(56)} ${value.padStart(12)}`);
const memory = (): string => {
  globalThis.gc?.();
  return `${(process.memoryUsage().rss / 1024 / 1024).toFixed(0)} MiB`;
};

async function timed<T>(what: string, work: () => Promise<T> | T): Promise<T> {
  const begun = performance.now();
  const result = await work();
  row(what, `${(performance.now() - begun).toFixed(0)} ms`);
  return result;
}

const folder = mkdtempSync(join(tmpdir(), 'bootseal-boots-'));
try {
  const retention = {
    clock: () => START,
    keepMs: Number.MAX_SAFE_INTEGER,
    keepBytes: Number.MAX_SAFE_INTEGER,
  };
  const writer = await SegmentWriter.open(folder, 'bench', retention);
  await timed(`write ${BOOTS.toLocaleString('en')} receipts`, async () => {
    for (let at = 0; at < BOOTS; at += 1) await writer.append(encodeReceipt(receiptOf(at)));
  });
  await writer.close();
  row('memory before', memory());
  const receipts = new Receipts(folder);
  await timed('read them, as a server does when it starts', () => receipts.read());
  row('memory with them', memory());
  const day = START + BOOTS * EVERY - 86_400_000;
  await timed('the last 50', () => receipts.find({}, 50));
  await timed('the last 50 of one machine', () => receipts.find({ machine: mac(4711) }, 50));
  await timed('the last 50 that failed', () => receipts.find({ failed: true }, 50));
  await timed('the last 50 of one release', () => receipts.find({ release: 'arch/2026.07.01' }, 50));
  const middle = (await receipts.find({}, 1, bootId(START + (BOOTS >> 1) * EVERY, BOOTS >> 1)))[0];
  await timed('50 from the middle on', () => receipts.find({}, 50, middle?.boot));
  await timed('share verified of the last day', () => receipts.count({ since: day }));
  await timed('share verified of all', () => receipts.count({}));
  await timed('one boot by its id', () => receipts.get(bootId(START, 0)));
  await timed('every machine', () => receipts.index.machines());
  row('memory after all that', memory());
  row('most memory', `${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
