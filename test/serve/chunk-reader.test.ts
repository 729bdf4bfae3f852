import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { OpenResource } from '../../src/release/site.ts';
import { ChunkPool } from '../../src/serve/chunk-pool.ts';
import { ChunkReader } from '../../src/serve/chunk-reader.ts';

const MIB = 1024 * 1024;
const LAST = 64 * MIB - 1;
const SHARE = { name: '10.0.0.1', weight: 1 };

/** A file that is as long as it needs to be. */
const endless: OpenResource = {
  read: async (buffer) => buffer.length,
  check: async () => {},
  close: async () => {},
};

/** A reader whose client took three chunks quickly, and so is given whole ones. */
async function atFullSpeed(
  pool: ChunkPool,
): Promise<{ reader: ChunkReader; position: number; sizes: number[] }> {
  const reader = new ChunkReader(endless, pool, SHARE);
  const sizes: number[] = [];
  let position = 0;
  for (let i = 0; i < 3; i++) {
    const chunk = await reader.next(position, LAST);
    sizes.push(chunk.bytes.length);
    position = chunk.end;
    reader.readAhead(position, LAST);
    await reader.pace(Promise.resolve());
    pool.give(chunk.buffer, SHARE);
  }
  return { reader, position, sizes };
}

test('chunks grow fourfold to a mebibyte, and only then is read ahead', async () => {
  const pool = new ChunkPool(256 * MIB);
  const { reader, sizes } = await atFullSpeed(pool);
  assert.deepEqual(sizes, [MIB / 16, MIB / 4, MIB]);
  assert.equal(pool.held, MIB, 'the chunk that was read ahead');
  await reader.release();
  assert.equal(pool.held, 0);
});

test('what was read ahead is what comes next', async () => {
  const pool = new ChunkPool(256 * MIB);
  const { reader, position } = await atFullSpeed(pool);
  const chunk = await reader.next(position, LAST);
  assert.equal(chunk.end, position + MIB);
  assert.equal(pool.held, MIB);
});

test('a client that stops holds one chunk, not two, and gets small ones afterwards', async (t) => {
  const pool = new ChunkPool(256 * MIB);
  const { reader, position } = await atFullSpeed(pool);
  const chunk = await reader.next(position, LAST);
  reader.readAhead(chunk.end, LAST);
  assert.equal(pool.held, 2 * MIB);

  t.mock.timers.enable({ apis: ['setTimeout'] });
  let leave: () => void = () => {};
  const paced = reader.pace(
    new Promise((resolve) => {
      leave = resolve;
    }),
  );
  t.mock.timers.tick(251);
  t.mock.timers.reset();
  await turn();
  assert.equal(pool.held, MIB);
  leave();
  await paced;
  assert.equal((await reader.next(chunk.end, LAST)).bytes.length, MIB / 16);
});

test('a read that fails is reported to whoever wants the bytes, and holds nothing', async () => {
  const pool = new ChunkPool(256 * MIB);
  const broken = { ...endless, read: () => Promise.reject(new Error('EIO')) };
  await assert.rejects(new ChunkReader(broken, pool, SHARE).next(0, LAST), /EIO/);
  const short = { ...endless, read: async () => 0 };
  await assert.rejects(new ChunkReader(short, pool, SHARE).next(0, LAST), { code: 'drifted' });
  assert.equal(pool.held, 0);
});
