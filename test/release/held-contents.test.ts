import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeldContents, LARGEST_HELD } from '../../src/release/held-contents.ts';
import type { PinnedFile } from '../../src/release/pin.ts';

const file = (name: string): PinnedFile => ({
  ...{ path: `/${name}`, name, size: 1, sha256: '' },
  identity: { dev: 1n, ino: 1n, size: 1n, mtimeNs: 1n, ctimeNs: 1n },
});

test('no more is held than there is room for, and what is asked for stays', () => {
  const held = new HeldContents(1000);
  const [asked, ...others] = Array.from({ length: 50 }, (_, index) => file(String(index)));
  assert.ok(asked);
  held.keep(asked, Buffer.alloc(100, 'a'));
  for (const other of others) {
    held.keep(other, Buffer.alloc(100));
    assert.ok(held.bytes <= 1000, String(held.bytes));
    assert.equal(held.find(asked)?.length, 100);
  }
  assert.equal(held.bytes, 1000);
  assert.equal(others.filter((other) => held.find(other) !== undefined).length, 9);
});

test('a large content is not held, nor one that no room is for', () => {
  const held = new HeldContents(2 * LARGEST_HELD);
  const large = file('large');
  held.keep(large, Buffer.alloc(LARGEST_HELD + 1));
  assert.equal(held.find(large), undefined);
  const none = new HeldContents(10);
  none.keep(large, Buffer.alloc(11));
  assert.deepEqual([none.find(large), none.bytes], [undefined, 0]);
});

test('a content that is kept twice is counted once', () => {
  const held = new HeldContents(100);
  const one = file('one');
  held.keep(one, Buffer.alloc(60));
  held.keep(one, Buffer.alloc(60));
  assert.equal(held.bytes, 60);
});
