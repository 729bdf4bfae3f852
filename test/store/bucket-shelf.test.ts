import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Tree } from '../../src/files/tree.ts';
import { decodeReleaseList } from '../../src/formats/records/release-list.ts';
import { BucketShelf } from '../../src/store/bucket-shelf.ts';
import { objectKey } from '../../src/store/objects.ts';
import type { VerifiedRelease } from '../../src/trust/verified-release.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';
import { MemoryBackend } from './memory-backend.ts';
import { sha256 } from './states.ts';

const folder = await temporaryFolder();
const RELEASE = 'arch/2026.11.01';
/** Three pieces of what is read at once, and a bit. */
const PAYLOAD = Buffer.alloc(9 * 1024 * 1024 + 5, 'a root image ');

/** What the shelf asks of something verified, without the keys that it takes to make one. */
async function verifiedOf(release: string, payload: Uint8Array, more = {}): Promise<VerifiedRelease> {
  const path = join(folder, sha256(payload).slice(0, 16));
  await writeFile(path, payload);
  const file = { path, name: 'root.img', size: payload.length, sha256: sha256(payload) };
  const records = { 'release.manifest': `manifest of ${release}\n`, 'boot/root.img.sig': 'seal', ...more };
  const entries = Object.entries(records).map(([name, text]) => [name, Buffer.from(text)] as const);
  const files = new Map([['boot/root.img', file]]);
  return { release, payload: 'read', files, records: new Map(entries) } as unknown as VerifiedRelease;
}

async function shelfWith(release = RELEASE, payload: Uint8Array = PAYLOAD) {
  const records = new MemoryBackend();
  const shelf = new BucketShelf('s3://boot', records);
  assert.equal(await shelf.store(await verifiedOf(release, payload), NOW), true);
  return { records, shelf };
}

async function measured(tree: Tree, path: string) {
  const file = await tree.open(path);
  try {
    return await file.measure([
      { kind: 'digest', hash: 'sha512' },
      { kind: 'digest', hash: 'sha256', suffix: Buffer.from('trailer') },
    ]);
  } finally {
    await file.close();
  }
}

describe('a release in a bucket', () => {
  it('is a list of objects, and copies for any web client', async () => {
    const { records, shelf } = await shelfWith();
    const list = decodeReleaseList((await records.get(`lists/${RELEASE}`))?.bytes ?? new Uint8Array());
    assert.deepEqual(
      list.files.map(({ path }) => path),
      ['boot/root.img', 'boot/root.img.sig', 'release.manifest'],
    );
    for (const { path, sha256: digest, size } of list.files) {
      for (const key of [objectKey(digest), `releases/${RELEASE}/${path}`]) {
        const { bytes } = (await records.get(key)) ?? { bytes: new Uint8Array() };
        assert.deepEqual([bytes.length, sha256(bytes)], [size, digest], key);
      }
    }
    assert.deepEqual([await shelf.ids(), await shelf.has(RELEASE)], [[RELEASE], true]);
    assert.equal(await shelf.has('arch/2026.11.02'), false);
  });

  it('is a tree: names, records, and content that is read once for all questions', async () => {
    const { shelf } = await shelfWith();
    const seen: number[] = [];
    const tree = shelf.tree(RELEASE, { onProgress: (_, bytes) => seen.push(bytes) });
    assert.deepEqual(await tree.list(''), ['boot', 'release.manifest']);
    assert.deepEqual(await tree.list('boot'), ['root.img', 'root.img.sig']);
    assert.deepEqual(await tree.list('nowhere'), []);
    assert.equal(Buffer.from(await tree.read('boot/root.img.sig', 4)).toString(), 'seal');
    await assert.rejects(tree.read('boot/root.img.sig', 3), refused('too-large', /4 bytes/));
    await assert.rejects(tree.read('boot', 3), refused('absent', /missing/));
    await assert.rejects(tree.open('../x'), refused('unsafe-path', /no path/));
    const { size, answers } = await measured(tree, 'boot/root.img');
    assert.deepEqual(
      [size, ...answers],
      [
        PAYLOAD.length,
        createHash('sha512').update(PAYLOAD).digest(),
        createHash('sha256').update(PAYLOAD).update('trailer').digest(),
      ],
    );
    assert.equal(seen.at(-1), PAYLOAD.length);
    const none = shelf.tree('arch/none');
    assert.deepEqual(await none.list(''), []);
    await assert.rejects(none.read('release.manifest', 9), refused('absent', /missing/));
  });

  it('whose object another program replaced, cut, or took away has drifted', async () => {
    const { records, shelf } = await shelfWith();
    const tree = shelf.tree(RELEASE);
    const key = objectKey(sha256(PAYLOAD));
    const changed = Buffer.from(PAYLOAD);
    changed[8 * 1024 * 1024] = 0;
    await records.put(key, changed);
    await assert.rejects(measured(tree, 'boot/root.img'), refused('drifted', /replaced/));
    await assert.rejects(tree.read('boot/root.img', PAYLOAD.length), refused('drifted', /replaced/));
    await records.put(key, PAYLOAD.subarray(1));
    await assert.rejects(tree.open('boot/root.img'), refused('drifted', /replaced/));
    await records.remove(key);
    await assert.rejects(tree.open('boot/root.img'), refused('drifted', /lost its object/));
  });

  it('whose list is another release’s, or was written into, is not read', async () => {
    const { records, shelf } = await shelfWith();
    const list = await records.get(`lists/${RELEASE}`);
    await records.put('lists/arch/2026.11.02', list?.bytes ?? new Uint8Array());
    await assert.rejects(shelf.tree('arch/2026.11.02').list(''), refused('drifted', /was moved/));
    await records.put(`lists/${RELEASE}`, Buffer.concat([list?.bytes ?? Buffer.alloc(0), Buffer.from(' ')]));
    await assert.rejects(shelf.tree(RELEASE).list(''), refused('malformed', /malformed/));
  });

  it('is fetched for who needs its files on this machine, and only what it was', async () => {
    const { records, shelf } = await shelfWith();
    const { tree, end } = await shelf.local(RELEASE);
    const file = await tree.open('boot/root.img');
    await file.close();
    assert.deepEqual(await readFile(file.place?.path ?? ''), PAYLOAD);
    await end();
    await assert.rejects(readFile(file.place?.path ?? ''), { code: 'ENOENT' });
    const changed = Buffer.from(PAYLOAD);
    changed[PAYLOAD.length - 1] = 0;
    await records.put(objectKey(sha256(PAYLOAD)), changed);
    await assert.rejects(shelf.local(RELEASE), refused('drifted', /replaced/));
  });

  it('whose object was replaced by another of its size goes to quarantine, and is published again with what it was', async () => {
    const { records, shelf } = await shelfWith();
    const key = objectKey(sha256(PAYLOAD));
    await records.put(key, Buffer.alloc(PAYLOAD.length));
    await records.put(`quarantine/${RELEASE}/reason.json`, Buffer.from('it drifted'));
    await shelf.moveAside(RELEASE);
    assert.equal(await shelf.store(await verifiedOf(RELEASE, PAYLOAD), NOW), true);
    assert.equal((await measured(shelf.tree(RELEASE), 'boot/root.img')).size, PAYLOAD.length);
  });

  it('never changes once it is published', async () => {
    const { records, shelf } = await shelfWith();
    assert.equal(await shelf.store(await verifiedOf(RELEASE, PAYLOAD), NOW), false);
    const before = await records.get(`lists/${RELEASE}`);
    const other = await verifiedOf(RELEASE, PAYLOAD, { 'release.manifest': 'another manifest\n' });
    await assert.rejects(shelf.store(other, NOW), refused('mixed-releases', /another release.manifest/));
    const payload = await verifiedOf(RELEASE, Buffer.from('another payload'));
    await assert.rejects(shelf.store(payload, NOW), refused('mixed-releases', /another boot.root.img/));
    assert.deepEqual(await records.get(`lists/${RELEASE}`), before);
  });

  it('that lost an object has drifted; lost copies are made again', async () => {
    const { records, shelf } = await shelfWith();
    await records.remove(`releases/${RELEASE}/boot/root.img`);
    assert.equal(await shelf.store(await verifiedOf(RELEASE, PAYLOAD), NOW), false);
    assert.ok(await records.facts(`releases/${RELEASE}/boot/root.img`));
    await records.remove(objectKey(sha256(PAYLOAD)));
    const again = shelf.store(await verifiedOf(RELEASE, PAYLOAD), NOW);
    await assert.rejects(again, refused('drifted', /has lost its boot.root.img/));
  });

  it('is not stored where a file changed since it was verified, or has a hidden name', async () => {
    const records = new MemoryBackend();
    const shelf = new BucketShelf('s3://boot', records);
    const verified = await verifiedOf(RELEASE, Buffer.from('as it was'));
    const [file] = verified.files.values();
    await writeFile(file?.path ?? '', 'as it is!');
    assert.equal((await readFile(file?.path ?? '')).length, file?.size);
    await assert.rejects(shelf.store(verified, NOW), refused('drifted', /changed/));
    const hidden = await verifiedOf(RELEASE, PAYLOAD, { '.treeinfo': 'x' });
    await assert.rejects(shelf.store(hidden, NOW), refused('unsafe-path', /key of a bucket/));
    assert.deepEqual(await shelf.ids(), []);
    assert.deepEqual(await records.list('releases'), []);
  });
});

describe('two publishers of one name', () => {
  it('one wins, the other is refused, and the copies are the winner’s', async () => {
    let after = 0;
    for (; ; after += 1) {
      const records = new MemoryBackend();
      const winner = await verifiedOf(RELEASE, Buffer.from('one payload'), { 'release.manifest': 'one\n' });
      const loser = await verifiedOf(RELEASE, Buffer.from('two payload'), { 'release.manifest': 'two\n' });
      let steps = 0;
      const late = new BucketShelf(
        's3://boot',
        new Proxy(records, {
          get:
            (target, name) =>
            async (...given: unknown[]) => {
              if (steps++ === after) await new BucketShelf('s3://boot', records).store(winner, NOW);
              const verb = Reflect.get(target, name) as (...all: unknown[]) => unknown;
              return verb.apply(target, given);
            },
        }),
      );
      const what = `the other published before step ${after}`;
      const lost = await late.store(loser, NOW).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (steps <= after) break;
      assert.ok(lost instanceof Refusal && lost.code === 'mixed-releases', what);
      const tree = new BucketShelf('s3://boot', records).tree(RELEASE);
      assert.equal(Buffer.from(await tree.read('release.manifest', 99)).toString(), 'one\n', what);
      const copy = await records.get(`releases/${RELEASE}/boot/root.img`);
      assert.equal(Buffer.from(copy?.bytes ?? '').toString(), 'one payload', what);
    }
    assert.ok(after > 8, `${after} steps`);
  });
});

describe('quarantine in a bucket', () => {
  it('takes the list and the copies away, and no object; and gives them back', async () => {
    const { records, shelf } = await shelfWith();
    const list = await records.get(`lists/${RELEASE}`);
    await shelf.moveAside(RELEASE);
    assert.deepEqual([await shelf.has(RELEASE), await shelf.isAside(RELEASE)], [false, true]);
    assert.deepEqual(await records.list('releases'), []);
    assert.deepEqual((await records.get(`quarantine/${RELEASE}/list`))?.bytes, list?.bytes);
    assert.equal((await measured(shelf.treeAside(RELEASE), 'boot/root.img')).size, PAYLOAD.length);
    await shelf.moveBack(RELEASE);
    assert.deepEqual([await shelf.has(RELEASE), await shelf.isAside(RELEASE)], [true, false]);
    assert.deepEqual((await records.get(`lists/${RELEASE}`))?.bytes, list?.bytes);
    assert.ok(await records.facts(`releases/${RELEASE}/boot/root.img`));
  });

  it('makes room for another of the name, and does not put one in the place of another', async () => {
    const { records, shelf } = await shelfWith(RELEASE, Buffer.from('first'));
    await records.put(`quarantine/${RELEASE}/reason.json`, Buffer.from('why the first'));
    await shelf.moveAside(RELEASE);
    await shelf.store(await verifiedOf(RELEASE, Buffer.from('second')), NOW);
    await assert.rejects(shelf.moveBack(RELEASE), refused('mixed-releases', /published while/));
    await shelf.makeRoom(RELEASE);
    await shelf.moveAside(RELEASE);
    const root = await shelf.treeAside(RELEASE).read('boot/root.img', 99);
    assert.equal(Buffer.from(root).toString(), 'second');
    const before = `provenance/${RELEASE}/quarantined/before-1`;
    assert.deepEqual(await records.list(before), ['list', 'reason.json']);
    assert.equal(
      Buffer.from((await records.get(`${before}/reason.json`))?.bytes ?? '').toString(),
      'why the first',
    );
  });
});
