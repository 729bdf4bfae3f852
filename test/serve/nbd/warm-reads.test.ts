import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WarmReads } from '../../../src/serve/nbd/warm-reads.ts';

/** A clock that goes on by as much as each read takes, and a disk that says what it was asked. */
function warmReads(
  takes: () => number,
  fromDisk: () => number = () => 1,
): {
  reads: WarmReads;
  asked: () => number;
  pass: (ms: number) => void;
} {
  let now = 0;
  let asked = 0;
  let disk = 0;
  const read = (_fd: number, into: Buffer): number => {
    asked += 1;
    now += takes();
    disk += fromDisk();
    return into.length;
  };
  return {
    reads: new WarmReads(
      read,
      () => now,
      () => disk,
    ),
    asked: () => asked,
    pass: (ms) => {
      now += ms;
    },
  };
}

const BLOCK = Buffer.alloc(4096);

test('what is in memory is read at once', () => {
  const { reads, asked } = warmReads(() => 0.005);
  for (let index = 0; index < 1000; index += 1) assert.equal(reads.fill(3, BLOCK, 0), true);
  assert.equal(asked(), 1000);
});

test('a read that waited for a disk is followed by twenty times as long without one', () => {
  const { reads, asked, pass } = warmReads(() => 10);
  assert.equal(reads.fill(3, BLOCK, 0), true);
  for (let ms = 0; ms < 200; ms += 1) {
    assert.equal(reads.fill(3, BLOCK, 0), false);
    pass(1);
  }
  assert.equal(reads.fill(3, BLOCK, 0), true);
  assert.equal(asked(), 2);
});

test('a read that waited for the processor only is followed by others, unless that took far too long', () => {
  let takes = 10;
  const { reads, asked } = warmReads(
    () => takes,
    () => 0,
  );
  for (let index = 0; index < 10; index += 1) assert.equal(reads.fill(3, BLOCK, 0), true);
  assert.equal(asked(), 10);
  takes = 101;
  assert.equal(reads.fill(3, BLOCK, 0), true);
  assert.equal(reads.fill(3, BLOCK, 0), false);
});

test('a large read may take longer than a small one', () => {
  const { reads } = warmReads(() => 0.1);
  assert.equal(reads.fill(3, Buffer.alloc(262_144), 0), true);
  assert.equal(reads.fill(3, BLOCK, 0), true, 'the large one was in memory');
  assert.equal(reads.fill(3, BLOCK, 0), false, 'the small one was not');
});

test('a read that fails or ends early is one to be done some other way', () => {
  const failing = new WarmReads(
    () => {
      throw new Error('EIO');
    },
    () => 0,
  );
  assert.equal(failing.fill(3, BLOCK, 0), false);
  const short = new WarmReads(
    () => 100,
    () => 0,
  );
  assert.equal(short.fill(3, BLOCK, 0), false);
});
