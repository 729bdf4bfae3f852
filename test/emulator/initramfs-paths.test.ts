import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readInitramfs } from '../../src/emulator/initramfs.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { type CpioSource, cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';

/** Paths made to be long to follow. Compressed, each of these archives has some kilobytes. */

const dir = (name: string): CpioSource => ({ kind: 'directory', name });
const symlink = (name: string, target: string): CpioSource => ({ kind: 'symlink', name, target });
const initramfs = (...sources: CpioSource[]) => [gzipSync(encodeCpio(cpioEntries(sources, 0)))];
const refused = (error: unknown): boolean => {
  assert.ok(error instanceof Refusal, (error as Error).stack);
  assert.equal(error.code, 'too-large');
  assert.match(error.message, /take more than 33554432 bytes to resolve/);
  return true;
};

const DEPTH = 1000;
const NESTED = Array.from({ length: DEPTH }, (_, index) =>
  dir(
    Array(index + 1)
      .fill('a')
      .join('/'),
  ),
);
const DEEP = NESTED.at(-1)?.name ?? '';
/** `0` leads to the deepest directory, each other letter to the one before it. */
const CHAIN = Array.from({ length: 39 }, (_, index) =>
  symlink(`${DEEP}/${letter(index)}`, index === 0 ? `/${DEEP}` : `/${DEEP}/${letter(index - 1)}`),
);
const TOP = `${DEEP}/${letter(38)}`;

function letter(index: number): string {
  return String.fromCharCode('0'.charCodeAt(0) + index);
}

describe('a path', () => {
  it('with thousands of slashes is the same path', async () => {
    const slashes = '/'.repeat(4000);
    const tree = await readInitramfs(
      initramfs(dir('a'), dir(`a${slashes}b`), dir(`${slashes.slice(90)}a/c${'/'.repeat(80)}`)),
    );
    assert.deepEqual(tree.list(`a${slashes}`), ['b', 'c']);
  });

  it('with a slash at its end, its own or a symlink’s, is a directory', async () => {
    const tree = await readInitramfs(
      initramfs(
        dir('d'),
        { kind: 'file', name: 'f', data: Buffer.from('x') },
        symlink('to-file', 'f'),
        symlink('to-file-as-directory', 'f//'),
        symlink('through', 'to-directory/../f'),
        symlink('to-directory', 'd//'),
      ),
    );
    const found = [
      'f',
      'f//',
      'd//',
      'to-file',
      'to-file/',
      'to-file-as-directory',
      'to-directory',
      'through',
    ];
    assert.deepEqual(
      found.filter((path) => tree.exists(path)),
      ['f', 'd//', 'to-file', 'to-directory', 'through'],
    );
  });

  it('through 39 symlinks is followed', async () => {
    const tree = await readInitramfs(initramfs(...NESTED, ...CHAIN, dir(`${TOP}/x`)));
    assert.deepEqual(tree.list(DEEP).slice(-1), ['x']);
  });

  it('that hundreds of entries take through symlinks is refused', async () => {
    const entries = Array.from({ length: 400 }, () => dir(`${TOP}/x`));
    await assert.rejects(readInitramfs(initramfs(...NESTED, ...CHAIN, ...entries)), refused);
  });

  it('of slashes is refused in tens of thousands, in however many archives', async () => {
    const archive = initramfs(...Array.from({ length: 2500 }, () => dir('/'.repeat(4000))));
    await readInitramfs(archive);
    await assert.rejects(readInitramfs(Array(4).fill(archive[0])), refused);
  });

  it('can be asked for by readers as often as they like', async () => {
    const tree = await readInitramfs(initramfs(...NESTED, ...CHAIN));
    for (let count = 0; count < 500; count++) assert.ok(tree.exists(TOP));
  });
});
