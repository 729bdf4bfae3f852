import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BootIndex } from '../../src/boots/boot-index.ts';
import { MemoryLines, type ReceiptLines } from '../../src/boots/memory-lines.ts';
import { bootId, decodeReceipt, encodeReceipt, MAX_RECEIPT } from '../../src/boots/receipt.ts';
import { AT, MAC, OTHER, Scene } from '../boots/scene.ts';

/** Lines are kept in memory, and counted by who they are of. */
class Counted implements ReceiptLines {
  readonly #lines = new MemoryLines();
  readonly of = new Map<string, number>();
  full = false;

  append(line: Buffer) {
    if (this.full) throw new Error('No space is left on the disk.');
    assert.ok(line.length <= MAX_RECEIPT);
    const { machine } = decodeReceipt(line.toString('utf8'));
    this.of.set(machine, (this.of.get(machine) ?? 0) + 1);
    return this.#lines.append(line);
  }
  read(...place: Parameters<ReceiptLines['read']>) {
    return this.#lines.read(...place);
  }
  collect() {
    return this.#lines.collect();
  }
  close() {
    return this.#lines.close();
  }
}

const macOf = (number: number) =>
  `52:54:00:aa:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}`;

test('lines of which each character has to be escaped keep no receipt from being written', async () => {
  const lines = new Counted();
  const scene = new Scene({ lines });
  scene.script(MAC);
  for (let line = 0; line < 20; line += 1)
    scene.tell({ kind: 'console', server: 'syslog', remote: AT, text: `${line} ${'"'.repeat(500)}` });
  scene.refused('/releases/ours/1/vmlinuz', 'expired').script(OTHER, '10.0.0.8', 'local');
  await scene.boots.settled();
  assert.equal(scene.boots.fault, undefined);
  const [receipt] = await scene.boots.find({ machine: MAC }, 1);
  const kept = decodeReceipt(
    encodeReceipt({ ...receipt, boot: receipt?.boot ?? '' } as never).toString(),
  ).lines;
  assert.match(kept.at(-1) ?? '', /^19 /);
  assert.deepEqual([...lines.of.keys()].sort(), [MAC, OTHER]);
});

test('a sentence without an end ends', async () => {
  const scene = new Scene();
  const asking = scene.script(MAC).begin('/releases/ours/1/vmlinuz');
  const { Refusal } = await import('../../src/errors/refusal.ts');
  const refusal = new Refusal('expired', 'x'.repeat(20_000));
  scene.tell({ kind: 'refused', ...asking, refusal, status: 410 });
  await scene.boots.settled();
  assert.equal(scene.boots.fault, undefined);
});

test('one boot has as many lines as a boot needs, however often something is added to it', async () => {
  const lines = new Counted();
  const scene = new Scene({ lines });
  for (let second = 0; second < 3000; second += 1) {
    scene.script(MAC, AT, 'menu').pass(1);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok((lines.of.get(MAC) ?? 0) < 20, `${lines.of.get(MAC)} lines`);
  await scene.boots.settled();
  const [receipt] = await scene.boots.find({ machine: MAC }, 1);
  assert.equal(receipt?.outcome, 'waiting');
});

test('one address fills a part of what is kept in a day, and the receipts of others are kept', async () => {
  const lines = new Counted();
  const warned: object[] = [];
  const log = { info: () => {}, warn: (facts: object) => warned.push(facts), error: () => {} };
  const keepBytes = 16 * 1024 * 1024;
  const scene = new Scene({ lines, log, keepBytes });
  for (let number = 0; number < 3000; number += 1) {
    scene.script(macOf(number), '10.6.6.6', 'local');
    if (number % 20 === 0) scene.pass(1);
    await scene.boots.settled();
  }
  const flood = [...lines.of.values()].reduce((sum, each) => sum + each, 0);
  assert.ok(flood > 100 && flood < 1000, `${flood} lines`);
  assert.deepEqual(warned, [{ share: '10.6.6.6' }]);
  assert.ok(scene.boots.lost > 1000);
  scene.whole().reported('verified');
  await scene.boots.settled();
  assert.ok((lines.of.get(MAC) ?? 0) > 0);
  scene.pass(90_000).script(OTHER, '10.6.6.6', 'local');
  await scene.boots.settled();
  assert.ok((lines.of.get(OTHER) ?? 0) > 0);
});

test('a disk that takes nothing for hours holds no more boots in memory than wait for it', async () => {
  const lines = new Counted();
  lines.full = true;
  const scene = new Scene({ lines });
  for (let minute = 0; minute < 12; minute += 1) {
    for (let number = 0; number < 1300; number += 1) scene.script(macOf(minute * 1300 + number), AT, 'local');
    scene.pass(61);
  }
  await scene.boots.settled();
  scene.pass(4000);
  const { total } = scene.boots.count({});
  assert.ok(total <= 10_000, `${total} boots`);
});

test('a flood of machines ends no boot that is under way', async () => {
  const scene = new Scene();
  scene.script(MAC).begin('/releases/ours/1/vmlinuz');
  for (let number = 0; number < 21_000; number += 1) {
    if (number % 1300 === 0) scene.pass(61);
    scene.script(macOf(number), '10.6.6.6', 'local');
  }
  const [mine] = await scene.boots.find({ machine: MAC }, 1);
  assert.equal(mine?.outcome, 'running');
});

test('names that machines gave themselves are forgotten with their receipts', () => {
  const index = new BootIndex();
  const began = Date.UTC(2026, 10, 1);
  for (let number = 0; number < 1000; number += 1)
    index.put(
      {
        ...{ boot: bootId(began + number, number), began: began + number, machine: macOf(number) },
        ...{ outcome: 'verified', stage: 'report', release: `r/${number}` },
      },
      { segment: number < 990 ? 'lab/old' : 'lab/new', offset: number, length: 1 },
    );
  index.dropSegments(new Set(['lab/old']));
  assert.ok(index.names < 30, `${index.names} names`);
  assert.equal(index.count({ machine: macOf(995) }).total, 1);
  assert.equal(index.count({ release: 'r/995' }).total, 1);
  assert.equal(index.count({ release: 'r/5' }).total, 0);
  assert.equal(index.machines().length, 10);
});

test('a server that keeps receipts in memory keeps some thousand, however fast they come', async () => {
  const scene = new Scene();
  for (let number = 0; number < 16_000; number += 1) {
    if (number % 500 === 0) {
      scene.pass(25);
      await scene.boots.settled();
    }
    scene.script(macOf(number), `10.6.${number % 5}.6`, 'local');
  }
  await scene.boots.settled();
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(scene.boots.index.size <= 12_000, `${scene.boots.index.size} boots`);
});
