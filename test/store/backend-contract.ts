import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { StoreBackend } from '../../src/store/backend.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';

const bytes = (text: string) => Buffer.from(text);
const text = async (backend: StoreBackend, key: string) => {
  const record = await backend.get(key);
  return record && Buffer.from(record.bytes).toString();
};

const sha256 = (content: Uint8Array) => createHash('sha256').update(content).digest('hex');

/** What every maker of a `StoreBackend` does. @param make an empty one. */
export function backendContract(name: string, make: () => Promise<StoreBackend>): void {
  describe(`${name} as a StoreBackend`, () => {
    it('has nothing at first: absent is undefined, and a list is empty', async () => {
      const backend = await make();
      assert.equal(await backend.get('channels/stable/current'), undefined);
      assert.deepEqual(await backend.list('channels'), []);
      assert.deepEqual(await backend.list(''), []);
    });

    it('gives back what was put, whole, and the last of two', async () => {
      const backend = await make();
      for (const content of ['', 'one\n', 'x'.repeat(300_000)]) {
        await backend.put('a/b/c', bytes(content));
        assert.equal(await text(backend, 'a/b/c'), content);
      }
    });

    it('what is longer than what was asked for is refused, and not read', async () => {
      const backend = await make();
      await backend.put('k', bytes('12345'));
      assert.equal(Buffer.from((await backend.get('k', 5))?.bytes ?? []).toString(), '12345');
      await assert.rejects(backend.get('k', 4), refused('too-large', /has 5 bytes; no record is that long/));
      assert.equal(await backend.get('other', 0), undefined);
    });

    it('a version stands for bytes: the next bytes have another', async () => {
      const backend = await make();
      await backend.put('k', bytes('1'));
      const first = await backend.get('k');
      await backend.put('k', bytes('2'));
      const second = await backend.get('k');
      assert.notEqual(first?.version, second?.version);
      assert.equal((await backend.get('k'))?.version, second?.version);
    });

    it('putIfAbsent takes a key once, also where many come at once', async () => {
      const backend = await make();
      const won = await Promise.all(
        Array.from({ length: 8 }, (_, index) => backend.putIfAbsent('log/name', bytes(`${index}`))),
      );
      assert.equal(won.filter(Boolean).length, 1);
      assert.equal(await text(backend, 'log/name'), String(won.indexOf(true)));
      assert.equal(await backend.putIfAbsent('log/name', bytes('late')), false);
      assert.equal(await text(backend, 'log/name'), String(won.indexOf(true)));
    });

    it('compareAndSwap moves from what it expects and from nothing else', async () => {
      const backend = await make();
      assert.equal(await backend.compareAndSwap('k', 'no-such-version', bytes('1')), false);
      assert.equal(await backend.get('k'), undefined);
      assert.equal(await backend.compareAndSwap('k', undefined, bytes('1')), true);
      assert.equal(await backend.compareAndSwap('k', undefined, bytes('2')), false);
      const one = await backend.get('k');
      assert.equal(await backend.compareAndSwap('k', one?.version, bytes('2')), true);
      assert.equal(await backend.compareAndSwap('k', one?.version, bytes('3')), false);
      assert.equal(await text(backend, 'k'), '2');
    });

    it('of many that swap from the same version one wins', async () => {
      const backend = await make();
      await backend.put('k', bytes('0'));
      const start = await backend.get('k');
      const won = await Promise.all(
        Array.from({ length: 8 }, (_, index) =>
          backend.compareAndSwap('k', start?.version, bytes(`by ${index}`)),
        ),
      );
      assert.equal(won.filter(Boolean).length, 1);
      assert.equal(await text(backend, 'k'), `by ${won.indexOf(true)}`);
    });

    it('opens content at any place of it, and what is not there is undefined', async () => {
      const backend = await make();
      assert.equal(await backend.open('objects/a'), undefined);
      assert.equal(await backend.facts('objects/a'), undefined);
      const content = Buffer.from('0123456789');
      await backend.putFile('objects/a', { source: content, name: 'a', size: 10, sha256: sha256(content) });
      const opened = await backend.open('objects/a');
      assert.ok(opened);
      try {
        assert.equal(opened.size, 10);
        const buffer = Buffer.alloc(4);
        assert.equal(await opened.read(buffer, 3), 4);
        assert.equal(buffer.toString(), '3456');
        assert.equal(await opened.read(buffer, 8), 2);
        assert.equal(buffer.toString('latin1', 0, 2), '89');
        assert.equal(await opened.read(buffer, 10), 0);
        assert.equal(await opened.read(buffer, 11), 0);
      } finally {
        await opened.close();
      }
      assert.equal((await backend.facts('objects/a'))?.size, 10);
    });

    it('a copy is found under both keys, also again and over another, and goes on without the first', async () => {
      const backend = await make();
      assert.equal(await backend.copy('objects/a', 'releases/a'), false);
      assert.equal(await backend.get('releases/a'), undefined);
      await backend.put('objects/a', bytes('content'));
      await backend.put('releases/a', bytes('other'));
      for (let round = 0; round < 2; round++) {
        assert.equal(await backend.copy('objects/a', 'releases/a'), true);
        assert.equal(await text(backend, 'releases/a'), 'content');
        assert.deepEqual(await backend.list('releases'), ['a']);
      }
      await backend.remove('objects/a');
      await backend.remove('objects/a');
      assert.equal(await backend.get('objects/a'), undefined);
      assert.equal(await text(backend, 'releases/a'), 'content');
    });

    it('compareAndSwap to nothing removes, and only what it expects', async () => {
      const backend = await make();
      await backend.put('k', bytes('1'));
      const one = await backend.get('k');
      await backend.put('k', bytes('2'));
      assert.equal(await backend.compareAndSwap('k', one?.version, undefined), false);
      assert.equal(await text(backend, 'k'), '2');
      const two = await backend.get('k');
      assert.equal(await backend.compareAndSwap('k', two?.version, undefined), true);
      assert.equal(await backend.get('k'), undefined);
      assert.equal(await backend.compareAndSwap('k', undefined, undefined), true);
      assert.equal(await backend.putIfAbsent('k', bytes('3')), true);
    });

    it('lists one step below a prefix, sorted, and a neighbour with a longer name is not below it', async () => {
      const backend = await make();
      for (const key of ['c/s/2/x', 'c/s/10/x', 'c/s/2/y', 'c/s/current', 'c/s2/current', 'c/sa'])
        await backend.put(key, bytes(key));
      assert.deepEqual(await backend.list('c/s'), ['10/', '2/', 'current']);
      assert.deepEqual(await backend.list('c'), ['s/', 's2/', 'sa']);
      assert.deepEqual(await backend.list(''), ['c/']);
      assert.deepEqual(await backend.list('c/none'), []);
    });

    it('takes no key that means another file', async () => {
      const backend = await make();
      for (const key of [
        '',
        '/',
        '/etc',
        'a//b',
        'a/',
        '../a',
        'a/../b',
        'a/./b',
        '.hidden',
        'a/.b',
        'a b',
        'a\n',
      ]) {
        await assert.rejects(async () => backend.get(key), RangeError, key);
        await assert.rejects(async () => backend.put(key, bytes('x')), RangeError, key);
        await assert.rejects(async () => backend.putIfAbsent(key, bytes('x')), RangeError, key);
        await assert.rejects(async () => backend.compareAndSwap(key, undefined, bytes('x')), RangeError, key);
        if (key !== '') await assert.rejects(async () => backend.list(key), RangeError, key);
      }
    });

    it('putFile stores the file that was promised, and nothing of another', async () => {
      const backend = await make();
      const folder = await temporaryFolder();
      const source = join(folder, 'payload');
      const content = Buffer.alloc(200_000, 'payload');
      await writeFile(source, content);
      const sha256 = createHash('sha256').update(content).digest('hex');
      const file = { source, name: 'root.img', size: content.length, sha256 };
      await backend.putFile('objects/ab/cd', file);
      assert.deepEqual((await backend.get('objects/ab/cd'))?.bytes.length, content.length);
      await writeFile(source, Buffer.alloc(200_000, 'changed'));
      const drifted = refused('drifted', /root\.img changed/);
      await assert.rejects(backend.putFile('objects/ab/ce', file), drifted);
      await writeFile(source, content.subarray(1));
      await assert.rejects(backend.putFile('objects/ab/ce', file), drifted);
      assert.deepEqual(await backend.list('objects/ab'), ['cd']);
      await backend.putFile('objects/ab/ce', { ...file, source: content });
      await assert.rejects(
        backend.putFile('objects/ab/cf', { ...file, source: content.subarray(1) }),
        drifted,
      );
      assert.deepEqual(await backend.list('objects/ab'), ['cd', 'ce']);
    });
  });
}
