import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeElf, type Elf, isElf } from '../../../src/formats/archive/elf.ts';

/** A program as small as one can be: header, three segments, dynamic section, strings. */
function program(change: (bytes: Buffer, view: DataView) => void = () => {}): Buffer {
  const bytes = Buffer.alloc(0x300);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 3, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 3, true);
  const segment = (index: number, type: number, offset: number, address: number, size: number) => {
    const at = 64 + index * 56;
    view.setUint32(at, type, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, BigInt(address), true);
    view.setBigUint64(at + 32, BigInt(size), true);
  };
  segment(0, 3, 0x100, 0x100, 9);
  segment(1, 1, 0, 0x400000, 0x300);
  segment(2, 2, 0x180, 0x400180, 0x60);
  bytes.write('/lib/ld.x\0', 0x100, 'latin1');
  view.setBigUint64(32, 64n, true);
  bytes[0x109] = 0;
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(64 + 32, 10n, true);
  const dynamic: [bigint, bigint][] = [
    [1n, 1n],
    [1n, 8n],
    [29n, 15n],
    [5n, 0x400200n],
    [10n, 0x20n],
    [0n, 0n],
  ];
  for (const [index, [tag, value]] of dynamic.entries()) {
    view.setBigUint64(0x180 + index * 16, tag, true);
    view.setBigUint64(0x188 + index * 16, value, true);
  }
  bytes.write('\0liba.1\0libb.2\0/a:/b\0', 0x200, 'latin1');
  change(bytes, view);
  return bytes;
}

const EXPECTED: Elf = {
  machine: 'x86_64',
  interpreter: '/lib/ld.x',
  needed: ['liba.1', 'libb.2'],
  runpath: ['/a', '/b'],
};

describe('ELF', () => {
  it('says what a program needs', () => {
    assert.deepEqual(decodeElf(program()), EXPECTED);
  });

  it('says the same as readelf of real programs and libraries', () => {
    for (const path of [
      '/bin/busybox',
      '/usr/bin/openssl',
      realpathSync('/lib/x86_64-linux-gnu/libc.so.6'),
    ]) {
      const told = execFileSync('readelf', ['-Wld', path], { encoding: 'utf8' });
      const { needed, interpreter } = decodeElf(readFileSync(path));
      assert.deepEqual(
        needed,
        [...told.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name),
        path,
      );
      assert.equal(interpreter, /interpreter: (\S+)\]/.exec(told)?.[1], path);
    }
  });

  it('is told by its first bytes', () => {
    assert.equal(isElf(program()), true);
    assert.equal(isElf(Buffer.from('#!/bin/sh\n')), false);
    assert.equal(isElf(Buffer.alloc(0)), false);
  });

  it('is never read past its end, wherever it is cut', () => {
    const whole = program();
    for (let length = 0; length < whole.length; length += 1) {
      assert.throws(() => decodeElf(whole.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  for (const [what, change] of [
    ['another magic', (bytes) => bytes.set([0x7f, 0x45, 0x4c, 0x47])],
    ['32 bits', (bytes) => bytes.set([1], 4)],
    ['big-endian', (bytes) => bytes.set([2], 5)],
    ['an object file', (_, view) => view.setUint16(16, 1, true)],
    ['a machine that is not known', (_, view) => view.setUint16(18, 3, true)],
    ['program headers of another size', (_, view) => view.setUint16(54, 32, true)],
    ['thousands of segments', (_, view) => view.setUint16(56, 60000, true)],
    ['program headers beyond its end', (_, view) => view.setBigUint64(32, 0x2f0n, true)],
    ['an offset of 2⁶³', (_, view) => view.setBigUint64(64 + 8, 2n ** 63n, true)],
    ['a name beyond the string table', (_, view) => view.setBigUint64(0x188, 0x21n, true)],
    ['a string table that is nowhere', (_, view) => view.setBigUint64(0x188 + 3 * 16, 0x10n, true)],
    ['no string table', (_, view) => view.setBigUint64(0x180 + 3 * 16, 77n, true)],
    ['a control character in a name', (bytes) => bytes.set([0x0a], 0x202)],
    ['a loader without NUL', (bytes) => bytes.fill(0x61, 0x109, 0x180)],
  ] as readonly [string, (bytes: Buffer, view: DataView) => void][]) {
    it(`with ${what} is malformed`, () => {
      assert.throws(() => decodeElf(program(change)), Malformed);
    });
  }
});
