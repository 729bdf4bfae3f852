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

/** Content that is wanted by another path than the one it arrives under, after it has gone by. */
describe('a file behind a link', () => {
  const file = (name: string, content: string): CpioSource => ({
    kind: 'file',
    name,
    data: Buffer.from(content),
  });
  const reading = (...asked: string[]) => ({
    keep: (path: string, size: number) => size < 100 && asked.includes(path),
    asked,
  });
  const read = (tree: Awaited<ReturnType<typeof readInitramfs>>, path: string) =>
    Buffer.from(tree.read(path)).toString();

  it('is kept through its own symlink, a chain of them, and one of its folder, in whatever order they stand', async () => {
    const wanted = ['key', 'gpg/ring', 'far', 'loop', 'out'];
    const targets = [
      dir('store'),
      dir('store/gpg'),
      file('store/key', 'key'),
      file('store/gpg/ring', 'ring'),
    ];
    const links = [
      symlink('key', 'store/key'),
      symlink('gpg', '/store/gpg'),
      symlink('far', 'far1'),
      symlink('far1', '../../key'),
      symlink('loop', 'loop'),
      symlink('out', 'nowhere/key'),
    ];
    for (const sources of [
      [...targets, ...links],
      [...links, ...targets],
    ]) {
      const tree = await readInitramfs(initramfs(...sources, file('other', 'x')), reading(...wanted));
      assert.deepEqual(
        ['key', 'gpg/ring', 'far', 'store/key'].map((path) => read(tree, path)),
        ['key', 'ring', 'key', 'key'],
      );
      assert.deepEqual(
        ['loop', 'out'].map((path) => tree.exists(path)),
        [false, false],
      );
      assert.throws(() => tree.read('other'), { code: 'too-large' });
    }
  });

  it('is what the last of several initrds made of it, and not one that is larger than wanted', async () => {
    const first = initramfs(dir('a'), file('a/key', 'old'), symlink('key', 'a/key'));
    const second = initramfs(file('a/key', 'new'), symlink('big', 'a/big'), file('a/big', 'x'.repeat(100)));
    const tree = await readInitramfs([...first, ...second], reading('key', 'big'));
    assert.equal(read(tree, 'key'), 'new');
    assert.deepEqual([tree.stat('big')?.size, tree.stat('big')?.kept], [100, false]);
  });

  it('is under each of its hard names what the first or the last of them brought', async () => {
    const names = ['a', 'b', 'c'];
    for (const carrier of names) {
      const entries = cpioEntries([file('a', ''), link('b', 'a'), link('c', 'a')], 0).map((entry) => ({
        ...entry,
        data: entry.name === carrier ? Buffer.from('content') : new Uint8Array(0),
      }));
      for (const wanted of names) {
        const tree = await readInitramfs([gzipSync(encodeCpio(entries))], reading(wanted));
        for (const name of names) assert.equal(read(tree, name), 'content', `${carrier} ${wanted} ${name}`);
      }
    }
  });

  it('is not kept for an empty name when its content is larger than wanted', async () => {
    const sources = [file('a', 'x'.repeat(100)), link('b', 'a')];
    const tree = await readInitramfs(initramfs(...sources), reading('a', 'b'));
    assert.equal(tree.stat('a')?.kept, false);
  });
});

function link(name: string, to: string): CpioSource {
  return { kind: 'link', name, to };
}

/** A path as bytes: in these tests each character is one. */
describe('names of bytes', () => {
  const raw = (replaced: Record<string, string>, ...sources: CpioSource[]) => {
    let bytes = Buffer.from(encodeCpio(cpioEntries(sources, 0))).toString('latin1');
    for (const [from, to] of Object.entries(replaced)) bytes = bytes.replaceAll(from, to);
    return Buffer.from(bytes, 'latin1');
  };

  it('in Latin-1 stand beside those in UTF-8, apart from each other, and links lead to them', async () => {
    const image = raw(
      { X: '\xe4', Y: '\xe5' },
      dir('ö'),
      { kind: 'file', name: 'ö/X', data: Buffer.from('one') },
      { kind: 'file', name: 'ö/Y', data: Buffer.from('two') },
      symlink('to', 'ö/Y'),
    );
    const tree = await readInitramfs([image], { keep: () => true });
    assert.deepEqual(tree.list('ö'), ['\udce4', '\udce5']);
    assert.equal(Buffer.from(tree.read('ö/\udce4')).toString(), 'one');
    assert.equal(Buffer.from(tree.read('to')).toString(), 'two');
  });

  it('are as long as their bytes: 255 are a name, 256 are none', async () => {
    const image = raw({ '~': '\xff' }, dir('~'.repeat(255)), dir('~'.repeat(256)));
    const tree = await readInitramfs([image]);
    assert.deepEqual(
      tree
        .list('/')
        .map((name) => name.length)
        .sort(),
      [255, 3, 4],
    );
    assert.match(tree.remarks.join(), /dropped, no directory/);
  });

  it('end a symlink’s target at a NUL, and one that is empty leads to where it stands', async () => {
    const image = raw(
      { '%': '\0' },
      { kind: 'file', name: 'f', data: Buffer.from('f') },
      symlink('terminated', 'f%'),
      symlink('hidden', 'f%/g'),
      symlink('nothing', '%f'),
    );
    const tree = await readInitramfs([image]);
    assert.deepEqual([tree.readlink('terminated'), tree.readlink('hidden')], ['f', 'f']);
    assert.equal(Buffer.from(tree.read('terminated')).toString(), 'f');
    assert.equal(tree.readlink('nothing'), '');
    assert.equal(Buffer.from(tree.read('nothing/f')).toString(), 'f');
    assert.deepEqual(tree.remarks, []);
  });
});
