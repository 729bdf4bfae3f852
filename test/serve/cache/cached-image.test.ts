import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { OpenResource } from '../../../src/release/site.ts';
import type { VerifyBlock } from '../../../src/serve/cache/cached-image.ts';
import { ContentCache } from '../../../src/serve/cache/content-cache.ts';
import { FetchedExport } from '../../../src/serve/nbd/nbd-fetched-export.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { heard, promised, TestSource } from './sources.ts';

const MIB = 1024 * 1024;
const BLOCK = 4096;

/** An image in a store, whose blocks are held against those that it was made of. */
async function image({ size = 3 * MIB + 5 * BLOCK, most = 64 * MIB } = {}) {
  const bytes = randomBytes(size);
  const source = new TestSource();
  source.put(bytes);
  const file = promised('rootfs', bytes);
  const events = heard();
  let now = 0;
  let looked = 0;
  const verify: VerifyBlock = (index, block) => {
    looked += 1;
    return bytes.subarray(index * BLOCK, (index + 1) * BLOCK).equals(block);
  };
  const folder = join(await temporaryFolder(), 'cache');
  const cache = await ContentCache.open({ source, folder, most, events, monotonic: () => now });
  const later = (ms: number) => (now += ms);
  return { bytes, source, file, events, verify, cache, folder, later, looked: () => looked };
}

async function part(open: OpenResource, position: number, length: number): Promise<Buffer> {
  const into = Buffer.alloc(length);
  assert.equal(await open.read(into, position), length);
  return into;
}

describe('an image of which parts are read', () => {
  it('is fetched where it is read, once, and every block is looked at each time', async (t) => {
    const { bytes, source, file, verify, cache, looked } = await image();
    t.after(() => cache.end());
    const open = await cache.open(file, 'parts', verify);
    for (const [position, length] of [
      [0, BLOCK],
      [5, 10],
      [MIB - 3, 7],
      [2 * MIB - BLOCK, 2 * BLOCK],
    ] as const)
      assert.deepEqual(await part(open, position, length), bytes.subarray(position, position + length));
    assert.deepEqual(source.reads, ['0-1048575', '1048576-2097151', '2097152-3145727']);
    const before = looked();
    source.away = true;
    assert.deepEqual(await part(open, BLOCK, 2 * BLOCK), bytes.subarray(BLOCK, 3 * BLOCK));
    assert.equal(looked() - before, 2);
    await assert.rejects(part(open, 3 * MIB, BLOCK), { code: 'unreachable' });
    await open.close();
  });

  it('is one file of the cache once all of it was read, judged as a whole', async (t) => {
    const { bytes, source, file, events, verify, cache, folder, looked } = await image();
    t.after(() => cache.end());
    const open = await cache.open(file, 'parts', verify);
    for (let at = 0; at < bytes.length; at += BLOCK * 64)
      await part(open, at, Math.min(BLOCK * 64, bytes.length - at));
    assert.deepEqual((await readdir(folder)).sort(), [file.sha256, 'lock'].sort());
    source.away = true;
    const before = looked();
    assert.deepEqual(await part(open, 77, 3 * MIB), bytes.subarray(77, 77 + 3 * MIB));
    await open.check();
    assert.equal(looked(), before);
    await open.close();
    const whole = await cache.open(file, 'whole', verify);
    assert.deepEqual(await part(whole, 0, 100), bytes.subarray(0, 100));
    await whole.close();
    assert.deepEqual(
      events.said.filter((line) => line.startsWith('fetched')),
      ['fetched 1048576', 'fetched 1048576', 'fetched 1048576', `fetched ${5 * BLOCK}`],
    );
  });

  it('gives nothing of a chunk in which a block was changed, says which, and gives it when it is right', async (t) => {
    const { bytes, source, file, events, verify, cache, later } = await image();
    t.after(() => cache.end());
    const changed = Buffer.from(bytes);
    changed[MIB + 7 * BLOCK] = (changed[MIB + 7 * BLOCK] ?? 0) ^ 1;
    source.objects.set(file.sha256, changed);
    const open = await cache.open(file, 'parts', verify);
    assert.deepEqual(await part(open, 0, BLOCK), bytes.subarray(0, BLOCK));
    await assert.rejects(part(open, MIB, BLOCK), { code: 'drifted', message: /its block 263 was changed/ });
    assert.equal(cache.refusalOf(file)?.code, 'drifted');
    assert.deepEqual(await part(open, BLOCK, BLOCK), bytes.subarray(BLOCK, 2 * BLOCK));
    await assert.rejects(cache.open(file, 'parts', verify), { code: 'drifted' });
    source.objects.set(file.sha256, bytes);
    later(6_000);
    assert.deepEqual(await part(open, MIB, BLOCK), bytes.subarray(MIB, MIB + BLOCK));
    assert.equal(cache.refusalOf(file), undefined);
    assert.ok(events.said.includes('restored rootfs'));
    await open.close();
  });

  it('is told of once while one of its chunks is wrong, whatever is read of the others', async (t) => {
    const { bytes, source, file, events, verify, cache } = await image();
    t.after(() => cache.end());
    const changed = Buffer.from(bytes);
    changed[0] = (changed[0] ?? 0) ^ 1;
    source.objects.set(file.sha256, changed);
    const open = await cache.open(file, 'parts', verify);
    for (const at of [1, 2]) {
      await assert.rejects(part(open, 0, BLOCK), { code: 'drifted' });
      await part(open, at * MIB, BLOCK);
      assert.equal(cache.refusalOf(file)?.code, 'drifted');
    }
    const told = () => events.said.filter((line) => /^(refused|restored)/.test(line));
    assert.deepEqual(told(), ['refused rootfs: drifted']);
    bytes.copy(changed, 0, 0, 1);
    assert.deepEqual(await part(open, 0, BLOCK), bytes.subarray(0, BLOCK));
    assert.deepEqual(told(), ['refused rootfs: drifted', 'restored rootfs']);
    await open.close();
  });

  it('is handed on block by block where there is no room to keep any of it', async (t) => {
    const { bytes, file, verify, cache, folder } = await image({ most: 1000 });
    t.after(() => cache.end());
    const open = await cache.open(file, 'parts', verify);
    assert.deepEqual(await part(open, 100, 2 * MIB), bytes.subarray(100, 100 + 2 * MIB));
    await open.close();
    assert.ok((await readdir(folder)).every((name) => !/^[0-9a-f]{64}$/.test(name)));
  });

  it('waits over NBD while the store is away, and goes on when it is back', async (t) => {
    const { bytes, source, file, verify, cache } = await image();
    t.after(() => cache.end());
    const shut: string[] = [];
    const one = new FetchedExport({
      ...{ name: 'root', description: '', size: file.size },
      open: () => cache.open(file, 'parts', verify),
      onShut: ({ code }) => shut.push(code),
    });
    const open = await one.open();
    source.away = true;
    const into = Buffer.alloc(BLOCK);
    let settled = false;
    const read = Promise.resolve(open.read(into, MIB)).finally(() => (settled = true));
    for (let turns = 0; turns < 20; turns += 1) await setImmediate();
    assert.equal(settled, false);
    source.away = false;
    await read;
    assert.deepEqual(into, bytes.subarray(MIB, MIB + BLOCK));
    source.away = true;
    const waits = Promise.resolve(open.read(into, 2 * MIB));
    one.end();
    await assert.rejects(waits, { code: 'unreachable' });
    source.away = false;
    source.objects.set(file.sha256, randomBytes(file.size));
    await assert.rejects(Promise.resolve(open.read(into, 2 * MIB)), { code: 'drifted' });
    await open.close();
    assert.deepEqual(shut, []);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), file.sha256);
  });
});
