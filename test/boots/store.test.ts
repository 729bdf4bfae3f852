import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { appendFile, mkdir, readdir, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { MemoryLines, type ReceiptLines } from '../../src/boots/memory-lines.ts';
import {
  decodeReceipt,
  decodeReceiptHead,
  encodeReceipt,
  type Receipt,
  receiptFacts,
} from '../../src/boots/receipt.ts';
import { Receipts } from '../../src/boots/receipts.ts';
import { readPlace, SegmentWriter } from '../../src/boots/segments.ts';
import { Malformed } from '../../src/errors/malformed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { AT, MAC, OTHER, Scene } from './scene.ts';

const DAY = 86_400_000;
const KEEP = { keepMs: 1000 * DAY, keepBytes: 1e9 };
const run = promisify(execFile);

function linesOf(folder: string, writer: SegmentWriter): ReceiptLines {
  return {
    append: (line) => writer.append(line),
    read: (place) => readPlace(folder, place),
    collect: () => writer.collect(),
    close: () => writer.close(),
  };
}

/** A server's boots at a folder. */
async function sceneAt(folder: string, clock = () => 0): Promise<Scene> {
  const writer = await SegmentWriter.open(folder, 'lab', { clock, ...KEEP });
  return new Scene({ lines: linesOf(folder, writer) });
}

async function readAll(folder: string): Promise<readonly string[]> {
  const receipts = new Receipts(folder);
  await receipts.read();
  const found = await receipts.find({}, 1000);
  return found.toReversed().map(({ machine, outcome, stage }) => `${machine || '?'} ${outcome} at ${stage}`);
}

test('what is written is read by another process as it was told', async () => {
  const folder = await temporaryFolder();
  const scene = await sceneAt(folder);
  scene.offered().pass(1).whole().pass(1).reported('verified').pass(1).script(OTHER, '10.0.0.8');
  const told = await scene.all();
  await scene.boots.close();
  const receipts = new Receipts(folder);
  await receipts.read();
  assert.deepEqual((await receipts.find({}, 10)).toReversed().map(receiptFacts), told.map(receiptFacts));
  const [series = ''] = await readdir(folder);
  const [segment = ''] = (await readdir(join(folder, series))).filter((name) => name.endsWith('.jsonl'));
  for (const line of (await readFile(join(folder, series, segment), 'utf8')).trimEnd().split('\n'))
    assert.equal(typeof JSON.parse(line), 'object');
});

test('a boot that is told again has one receipt, the newest', async () => {
  const folder = await temporaryFolder();
  const scene = await sceneAt(folder);
  scene.script(MAC).gets('/releases/ours/1/vmlinuz').pass(100);
  await scene.boots.settled();
  scene.gets('/releases/ours/1/initrd').pass(1).reported('verified');
  await scene.boots.close();
  assert.deepEqual(await readAll(folder), [`${MAC} verified at report`]);
});

test('questions are answered by machine, outcome, release and time; pages follow one another', async () => {
  const scene = new Scene();
  for (let day = 0; day < 10; day += 1) {
    scene
      .whole(MAC)
      .reported(day % 3 === 0 ? 'refused' : 'verified')
      .pass(60);
    scene.script(OTHER, '10.0.0.8', 'local').pass(60);
    await scene.boots.settled();
    scene.wall += DAY;
    scene.mono += DAY;
  }
  const { boots } = scene;
  assert.equal((await boots.find({ machine: MAC }, 100)).length, 10);
  assert.equal((await boots.find({ failed: true }, 100)).length, 4);
  assert.equal((await boots.find({ release: 'ours/1' }, 100)).length, 10);
  assert.equal((await boots.find({ since: scene.wall - 2.5 * DAY }, 100)).length, 4);
  const pages: string[] = [];
  for (let before: string | undefined; ; ) {
    const page = await boots.find({}, 7, before);
    if (page.length === 0) break;
    pages.push(...page.map(({ boot }) => boot));
    before = page.at(-1)?.boot;
  }
  assert.equal(new Set(pages).size, 20);
  const { total, byOutcome, failures } = boots.count({});
  assert.deepEqual([total, byOutcome.verified, byOutcome.refused, byOutcome.local], [20, 6, 4, 10]);
  const [{ code, count, machines } = {}] = failures;
  assert.deepEqual([code, count, machines, failures.length], ['wrong-command-line', 4, 1, 1]);
  const [one] = await boots.find({ machine: OTHER }, 1);
  assert.equal((await boots.get(one?.boot ?? ''))?.machine, OTHER);
  assert.equal(await boots.get('00000000-00000000'), undefined);
});

test('two servers at one state never write one file, and each knows what the other saw', async () => {
  const folder = await temporaryFolder();
  const [one, two] = [await sceneAt(folder), await sceneAt(folder)];
  one.whole(MAC).reported('verified');
  two.whole(OTHER).reported('refused', OTHER);
  await Promise.all([one.boots.close(), two.boots.close()]);
  assert.deepEqual((await readdir(folder)).sort(), ['lab', 'lab-2']);
  assert.deepEqual((await readAll(folder)).toSorted(), [
    `${MAC} verified at report`,
    `${OTHER} refused at userspace`,
  ]);
});

test('a process that is killed in the middle of a line loses that line, and the series is free', async () => {
  const folder = await temporaryFolder();
  const scene = await sceneAt(folder);
  scene.whole().reported('verified');
  await scene.boots.close();
  const [segment = ''] = (await readdir(join(folder, 'lab'))).filter((name) => name.endsWith('.jsonl'));
  const path = join(folder, 'lab', segment);
  const lines = (await readFile(path, 'latin1')).split('\n');
  await appendFile(path, lines[0]?.slice(0, 200) ?? '');
  assert.deepEqual(await readAll(folder), [`${MAC} verified at report`]);
  const next = await sceneAt(folder);
  next.wall += DAY;
  next.whole(OTHER).reported('verified', OTHER);
  await next.boots.close();
  assert.deepEqual(await readAll(folder), [`${MAC} verified at report`, `${OTHER} verified at report`]);
});

test('kill -9 leaves a series that the next process takes', async () => {
  const folder = await temporaryFolder();
  const file = JSON.stringify(new URL('../../src/boots/segments.js', import.meta.url).href);
  const program = `
    import { SegmentWriter } from ${file};
    const keep = { clock: () => 0, keepMs: 1, keepBytes: 1 };
    const writer = await SegmentWriter.open(process.argv[1], 'lab', keep);
    console.log(writer.series);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, folder], {
    stdio: ['ignore', 'pipe', 2],
  });
  const [series] = (
    await new Promise<Buffer[]>((resolve) => child.stdout?.once('data', (bytes) => resolve([bytes])))
  ).map(String);
  assert.equal(series?.trim(), 'lab');
  const beside = await SegmentWriter.open(folder, 'lab', { clock: () => 0, ...KEEP });
  assert.equal(beside.series, 'lab-2');
  await beside.close();
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  const next = await SegmentWriter.open(folder, 'lab', { clock: () => 0, ...KEEP });
  assert.equal(next.series, 'lab');
  await next.close();
});

test('a server that starts again goes on with the boots it had in hand, and calls older ones lost', async () => {
  const folder = await temporaryFolder();
  const before = await sceneAt(folder);
  before.whole(OTHER, '10.0.0.8');
  await before.boots.settled();
  before.pass(3000).whole(MAC);
  await before.boots.close();
  const after = await sceneAt(folder);
  after.wall = before.wall + 60_000;
  await new Receipts(folder, after.boots.index).read();
  await after.boots.resume();
  assert.deepEqual(await after.said(), [`${OTHER} stalled at userspace`, `${MAC} running at userspace`]);
  after.reported('verified');
  await after.boots.close();
  assert.deepEqual(await readAll(folder), [`${OTHER} stalled at userspace`, `${MAC} verified at report`]);
  const late = await sceneAt(folder);
  late.whole(OTHER, '10.0.0.8');
  await late.boots.close();
  const last = await sceneAt(folder);
  last.wall = late.wall + DAY;
  await new Receipts(folder, last.boots.index).read();
  await last.boots.resume();
  await last.boots.close();
  assert.ok((await readAll(folder)).includes(`${OTHER} lost at userspace`));
});

test('a full disk: boots go on, and a receipt that came late says so', async () => {
  const folder = await temporaryFolder();
  const said: string[] = [];
  const writer = await SegmentWriter.open(folder, 'lab', { clock: () => 0, ...KEEP });
  let full = true;
  const scene = new Scene({
    lines: {
      ...linesOf(folder, writer),
      append: async (line) => {
        if (full) throw Object.assign(new Error('No space is left on the disk.'), { code: 'ENOSPC' });
        return writer.append(line);
      },
    },
    log: { info: (_, text) => said.push(text), warn: () => {}, error: (_, text) => said.push(text) },
  });
  scene.whole().reported('verified');
  assert.deepEqual(await scene.said(), [`${MAC} verified at report`]);
  scene.pass(6);
  await scene.boots.settled();
  assert.match(scene.boots.fault ?? '', /No space/);
  full = false;
  scene.pass(6);
  await scene.boots.close();
  assert.equal(scene.boots.fault, undefined);
  assert.deepEqual(said, ['receipts of boots cannot be written; boots go on', 'receipts are written again']);
  const receipts = new Receipts(folder);
  await receipts.read();
  const [receipt] = await receipts.find({}, 1);
  assert.match(receipt?.incomplete ?? '', /No space/);
});

test('a disk that is really full takes half a line, and the next whole line stands where that began', async () => {
  const folder = await temporaryFolder();
  const small = join(folder, 'small');
  await mkdir(small);
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
  try {
    const writer = await SegmentWriter.open(small, 'lab', { clock: () => 0, ...KEEP });
    const scene = new Scene();
    scene.whole().reported('verified');
    const [receipt] = await scene.all();
    const line = encodeReceipt(receipt as Receipt);
    let written = 0;
    await assert.rejects(async () => {
      for (; written < 1000; written += 1) await writer.append(line);
    }, /is full/);
    assert.ok(written > 5);
    await run('mount', ['-o', 'remount,size=128k', small]);
    await writer.append(line);
    await writer.close();
    const [name = ''] = (await readdir(join(small, 'lab'))).filter((each) => each.endsWith('.jsonl'));
    const lines = (await readFile(join(small, 'lab', name), 'utf8')).trimEnd().split('\n');
    assert.equal(lines.length, written + 1);
    for (const each of lines) assert.equal(each, line.toString('utf8').trimEnd());
  } finally {
    await run('umount', [small]);
  }
});

test('what is too old goes, a whole segment at a time, and so does what is too much', async () => {
  const folder = await temporaryFolder();
  let now = Date.UTC(2026, 0, 1);
  const keep = { clock: () => now, keepMs: 10 * DAY, keepBytes: 1e9 };
  const writer = await SegmentWriter.open(folder, 'lab', keep);
  const scene = new Scene({ lines: linesOf(folder, writer) });
  for (let day = 0; day < 30; day += 1) {
    scene.wall = now;
    scene.whole().reported('verified');
    await scene.boots.settled();
    now += DAY + 1000;
    scene.mono += DAY;
  }
  await scene.boots.close();
  const again = await SegmentWriter.open(folder, 'lab', keep);
  const before = (await readdir(join(folder, 'lab'))).length;
  const gone: string[] = [];
  for (let look = 0; look < 100; look += 1) {
    const old = await again.collect();
    assert.ok(old.length <= 1);
    gone.push(...old);
  }
  const after = (await readdir(join(folder, 'lab'))).length;
  assert.equal(before - after, gone.length);
  assert.ok(gone.length >= 18 && gone.length <= 21, `${gone.length} of 30 days`);
  const receipts = new Receipts(folder);
  await receipts.read();
  assert.equal(receipts.index.size, 30 - gone.length);
  await again.close();
});

test('a clock that is years ahead for an hour leaves nearly all that is kept', async () => {
  const folder = await temporaryFolder();
  let now = Date.UTC(2026, 0, 1);
  const keep = { clock: () => now, keepMs: 400 * DAY, keepBytes: 1e9 };
  const writer = await SegmentWriter.open(folder, 'lab', keep);
  for (let day = 0; day < 30; day += 1) {
    await writer.append(Buffer.from('{}\n'));
    now += DAY + 1000;
  }
  now += 10_000 * DAY;
  await writer.append(Buffer.from('{}\n'));
  for (let look = 0; look < 6; look += 1) await writer.collect();
  now -= 10_000 * DAY;
  await writer.append(Buffer.from('{}\n'));
  await writer.collect();
  await writer.close();
  const kept = (await readdir(join(folder, 'lab'))).filter((name) => name.endsWith('.jsonl'));
  assert.ok(kept.length >= 24, `${kept.length} segments`);
});

test('a line that nobody of us wrote is no receipt', async () => {
  const folder = await temporaryFolder();
  const scene = await sceneAt(folder);
  scene.whole().reported('verified');
  await scene.boots.close();
  const [segment = ''] = (await readdir(join(folder, 'lab'))).filter((name) => name.endsWith('.jsonl'));
  const path = join(folder, 'lab', segment);
  await appendFile(path, `${'x'.repeat(40_000)}\n{"boot":"nonsense"}\n\n\u0000\n`);
  assert.deepEqual(await readAll(folder), [`${MAC} verified at report`]);
  await truncate(path, 10);
  assert.deepEqual(await readAll(folder), []);
  for (const line of ['', '{', '[]', '{"boot":"x"}', 'null']) {
    assert.throws(() => decodeReceipt(line), Malformed);
    assert.equal(decodeReceiptHead(line), undefined);
  }
});

test('the head of a line says what the line says, whatever a machine called itself', async () => {
  const scene = new Scene();
  const hostile = '","outcome":"verified","x":"\u001b[2J<script>\u2028';
  scene.script(MAC);
  scene.tell({ kind: 'console', server: 'syslog', remote: AT, text: hostile });
  scene.gets('/releases/ours/1/vmlinuz', { mac: MAC }).reported('refused');
  const [receipt] = await scene.all();
  const line = encodeReceipt(receipt as Receipt)
    .toString('utf8')
    .trimEnd();
  assert.ok(!line.includes('\n'));
  const { boot, began, outcome, stage, machine, trust, code, release, ended } = receipt as Receipt;
  assert.deepEqual(decodeReceiptHead(line), {
    boot,
    began,
    outcome,
    stage,
    machine,
    trust,
    code,
    release,
    ended,
  });
  assert.deepEqual(receiptFacts(decodeReceipt(line)), receiptFacts(receipt as Receipt));
  assert.ok(receipt?.lines.includes(hostile));
});

test('a server that starts takes nothing out of the hands of another at the same state', async () => {
  const folder = await temporaryFolder();
  const one = await sceneAt(folder);
  one.whole();
  await one.boots.settled();
  const two = await sceneAt(folder);
  two.wall = one.wall + 1000;
  await new Receipts(folder, two.boots.index).read();
  await two.boots.resume((series) => series === 'lab-2');
  one.pass(5).reported('verified');
  await one.boots.settled();
  two.pass(3600);
  await Promise.all([one.boots.close(), two.boots.close()]);
  assert.deepEqual(await readAll(folder), [`${MAC} verified at report`]);
  const late = await sceneAt(folder);
  late.whole(OTHER);
  await late.boots.close();
  const days = await sceneAt(folder);
  days.wall = late.wall + 2 * DAY;
  await new Receipts(folder, days.boots.index).read();
  await days.boots.resume((series) => series === 'lab-9');
  await days.boots.close();
  assert.ok((await readAll(folder)).includes(`${OTHER} lost at userspace`));
});

test('a machine that began anew while a server was starting is not taken for what it was before', async () => {
  const folder = await temporaryFolder();
  const before = await sceneAt(folder);
  before.whole();
  await before.boots.close();
  const after = await sceneAt(folder);
  after.wall = before.wall + 60_000;
  after.script(MAC);
  await new Receipts(folder, after.boots.index).read();
  await after.boots.resume((series) => series === 'lab');
  after.gets('/releases/ours/1/vmlinuz').pass(1);
  assert.deepEqual(await after.said(), [`${MAC} restarted at userspace`, `${MAC} running at kernel`]);
  await after.boots.close();
  assert.deepEqual(await readAll(folder), [`${MAC} restarted at userspace`, `${MAC} running at kernel`]);
});

test('what other servers wrote is read one after the other, however much it is', async () => {
  const kept = new MemoryLines();
  let open = 0;
  let most = 0;
  const lines: ReceiptLines = {
    append: (line) => kept.append(line),
    async read(place) {
      open += 1;
      most = Math.max(most, open);
      await new Promise((resolve) => setImmediate(resolve));
      open -= 1;
      return kept.read(place);
    },
    collect: () => kept.collect(),
    close: () => kept.close(),
  };
  const here = new Scene({ lines });
  const told: string[] = [];
  here.boots.subscribe(({ receipt }) => told.push(receipt.boot));
  const there = new Scene();
  for (let boot = 0; boot < 100; boot += 1) {
    const card = `52:54:00:00:01:${boot.toString(16).padStart(2, '0')}`;
    there.script(card, '10.0.0.9', 'local').pass(1);
  }
  const receipts = await there.boots.find({}, 100);
  for (const receipt of receipts) here.boots.index.put(receipt, await kept.append(encodeReceipt(receipt)));
  await here.boots.told(receipts.map(({ boot }) => boot));
  assert.deepEqual([told.length, most], [100, 1]);
});
