import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { gzipBeginning } from '../../../src/formats/archive/gzip-beginning.ts';

const text = Buffer.alloc(200_000, 'some lines of a kernel\n');

it('is the whole of a short stream, and a part of a longer one that was cut', () => {
  assert.deepEqual(Buffer.from(gzipBeginning(gzipSync(text))), text);
  const noise = randomBytes(100_000);
  const some = gzipBeginning(gzipSync(noise).subarray(0, 65_536));
  assert.ok(some.length > 60_000);
  assert.deepEqual(Buffer.from(some), noise.subarray(0, some.length));
});

it('is at most 1 MiB of a bomb', () => {
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  const some = gzipBeginning(bomb.subarray(0, 65_536));
  assert.ok(some.length > 0 && some.length <= 1024 * 1024, String(some.length));
});

it('is nothing of what is no gzip', () => {
  for (const bytes of [new Uint8Array(), randomBytes(4096).fill(0, 0, 2), gzipSync(text).subarray(0, 5)])
    assert.equal(gzipBeginning(bytes).length, 0);
});
