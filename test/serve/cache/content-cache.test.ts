import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmod,
  mkdir,
  open as openFile,
  readdir,
  readFile,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import type { Arrived, PromisedFile } from '../../../src/release/promised-file.ts';
import type { OpenResource } from '../../../src/release/site.ts';
import { ContentCache } from '../../../src/serve/cache/content-cache.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { digest, gate, heard, promised, TestSource, whole } from './sources.ts';

const MIB = 1024 * 1024;

async function opened({ folder, most = 64 * MIB }: { folder?: string; most?: number } = {}) {
  const source = new TestSource();
  const events = heard();
  let now = 0;
  const place = folder ?? join(await temporaryFolder(), 'cache');
  const cache = await ContentCache.open({ source, folder: place, most, events, monotonic: () => now });
  return { source, cache, said: events.said, folder: place, later: (ms: number) => (now += ms) };
}

/** Reads from one position to another. */
async function fill(open: OpenResource, into: Buffer, from: number, to: number): Promise<void> {
  for (let at = from; at < to; ) at += await open.read(into.subarray(at, Math.min(to, at + MIB)), at);
}

/** A promise that notes when it is judged. */
function watched(promise: PromisedFile) {
  const judged: PromisedFile[] = [];
  const judge = (arrived: Arrived) => {
    judged.push(promise);
    return promise.judge(arrived);
  };
  return { file: { ...promise, judge }, judged };
}

const refused = (code: string, message = /./) => ({ name: 'Refusal', code, message });

describe('a cache of what lies elsewhere', () => {
  it('fetches a file once, whoever asks meanwhile, and gives it from its disk afterwards', async (t) => {
    const { source, cache, said, folder } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(5 * MIB);
    source.put(bytes);
    const file = promised('arch/vmlinuz', bytes);
    const asked = await Promise.all(
      ['whole', 'parts', 'whole'].map((use) => cache.open(file, use as 'whole')),
    );
    for (const got of await Promise.all(asked.map((open) => whole(open, bytes.length))))
      assert.deepEqual(got, bytes);
    source.away = true;
    assert.deepEqual(await whole(await cache.open(file, 'parts'), bytes.length), bytes);
    assert.equal(source.opened.length, 1);
    assert.deepEqual(said, ['miss', 'miss', 'miss', `fetched ${bytes.length}`, 'hit']);
    assert.deepEqual((await readdir(folder)).sort(), [file.sha256, 'lock'].sort());
    assert.equal((await stat(folder)).mode & 0o777, 0o700);
  });

  it('lets who takes all of it read what has come, and who takes a part wait', async (t) => {
    const { source, cache } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(6 * MIB);
    source.put(bytes);
    const file = promised('rootfs', bytes);
    const last = gate();
    source.gate = (position) => (position >= 4 * MIB ? last.passed : Promise.resolve());
    const open = await cache.open(file, 'whole');
    const first = Buffer.alloc(MIB);
    assert.equal(await open.read(first, 0), MIB);
    assert.deepEqual(first, bytes.subarray(0, MIB));
    let settled = false;
    const part = cache.open(file, 'parts').finally(() => (settled = true));
    const check = open.check().finally(() => (settled = true));
    await open.read(first, 3 * MIB);
    assert.equal(settled, false);
    last.open();
    await check;
    await open.close();
    assert.deepEqual(await whole(await part, bytes.length), bytes);
  });

  it('keeps back the end of what was changed on its disk while it was read as it came, whoever had it judged', async (t) => {
    const { source, cache, said, folder } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(3 * MIB);
    source.put(bytes);
    const file = promised('arch/initrd', bytes);
    const slow = await cache.open(file, 'whole');
    assert.deepEqual(await whole(await cache.open(file, 'whole'), bytes.length), bytes);
    const path = join(folder, file.sha256);
    const changed = Buffer.from(bytes);
    changed[MIB] = (changed[MIB] ?? 0) ^ 1;
    await chmod(path, 0o600);
    await writeFile(path, changed);
    await assert.rejects(whole(slow, bytes.length), refused('drifted', /changed while it was being used/));
    assert.ok(said.includes('lost arch/initrd'));
    assert.deepEqual(await whole(await cache.open(file, 'parts'), bytes.length), bytes);
  });

  it('judges a large file while it comes, and hands on what it hashed whatever becomes of its disk', async (t) => {
    const { source, cache, said, folder } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(20 * MIB + 5);
    source.put(bytes);
    const { file, judged } = watched(promised('rootfs', bytes));
    const last = gate();
    source.gate = (position) => (position >= 18 * MIB ? last.passed : Promise.resolve());
    const open = await cache.open(file, 'whole');
    const got = Buffer.alloc(bytes.length);
    await fill(open, got, 0, 18 * MIB);
    assert.equal(judged.length, 1);
    // What is there of it is spoilt, and stays so.
    const unfinished = (await readdir(folder)).find((name) => name.startsWith('.'));
    assert.ok(unfinished);
    const spoilt = await openFile(join(folder, unfinished), 'r+');
    await spoilt.write(Buffer.alloc(MIB), 0, MIB, 0);
    await spoilt.close();
    last.open();
    await fill(open, got, 18 * MIB, bytes.length);
    await open.check();
    await open.close();
    assert.ok(got.equals(bytes));
    // Nobody else gets it: it is read once more before, and fetched again.
    assert.ok((await whole(await cache.open(file, 'parts'), bytes.length)).equals(bytes));
    assert.deepEqual(
      said.filter((line) => /^(lost|fetched)/.test(line)),
      [`fetched ${bytes.length}`, 'lost rootfs', `fetched ${bytes.length}`],
    );
  });

  it('keeps back the end of a large file that was spoilt on its disk from who did not keep up', async (t) => {
    const { source, cache, folder } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(30 * MIB);
    source.put(bytes);
    const file = promised('rootfs', bytes);
    const last = gate();
    source.gate = (position) => (position >= 28 * MIB ? last.passed : Promise.resolve());
    const [slow, quick] = [await cache.open(file, 'whole'), await cache.open(file, 'whole')];
    const got = Buffer.alloc(bytes.length);
    await fill(quick, got, 0, 28 * MIB);
    const unfinished = (await readdir(folder)).find((name) => name.startsWith('.'));
    assert.ok(unfinished);
    const spoilt = await openFile(join(folder, unfinished), 'r+');
    await spoilt.write(Buffer.alloc(MIB), 0, MIB, 0);
    await spoilt.close();
    const seen = Buffer.alloc(MIB);
    await slow.read(seen, 0);
    assert.deepEqual(seen, Buffer.alloc(MIB));
    last.open();
    await assert.rejects(slow.check(), refused('drifted'));
    await fill(quick, got, 28 * MIB, bytes.length);
    await quick.check();
    assert.ok(got.equals(bytes));
    await slow.close();
    await quick.close();
  });

  it('refuses a large file that was changed in the store, breaks off, or that a seal does not fit', async (t) => {
    const { source, cache, folder, later } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(12 * MIB);
    const changed = Buffer.from(bytes);
    changed[11 * MIB] = (changed[11 * MIB] ?? 0) ^ 1;
    let seal: Refusal | undefined;
    const file = promised('rootfs', bytes, () => seal);
    source.objects.set(file.sha256, changed);
    const open = () => cache.open(file, 'whole');
    await assert.rejects(whole(await open(), bytes.length), refused('drifted', /its bytes were changed/));
    assert.deepEqual(await readdir(folder), ['lock']);
    source.put(bytes);
    source.gate = async (position) => {
      source.away = position >= 8 * MIB;
    };
    later(6_000);
    await assert.rejects(whole(await open(), bytes.length), refused('unreachable'));
    assert.deepEqual(await readdir(folder), ['lock']);
    source.away = false;
    source.gate = async () => {};
    seal = new Refusal('bad-signature', 'The seal is of another file.', {});
    await assert.rejects(whole(await open(), bytes.length), refused('bad-signature', /another file/));
    seal = undefined;
    later(600_000);
    assert.ok((await whole(await open(), bytes.length)).equals(bytes));
  });

  it('judges whole what cannot be judged as it comes, and what comes beside two others', async (t) => {
    const { source, cache } = await opened();
    t.after(() => cache.end());
    const files = [0, 1, 2, 3].map(() => randomBytes(6 * MIB));
    for (const bytes of files) source.put(bytes);
    const asked = files.map((bytes, at) => {
      const file = promised(`file-${at}`, bytes);
      if (at > 0) return file;
      const judge = async (arrived: Arrived) => {
        assert.equal((await arrived.bytes(bytes.length)).length, bytes.length);
        await file.judge(arrived);
      };
      return { ...file, judge };
    });
    const got = await Promise.all(
      asked.map(async (file) => whole(await cache.open(file, 'whole'), file.size)),
    );
    for (const [at, bytes] of files.entries()) assert.ok(got[at]?.equals(bytes), String(at));
    assert.equal(source.opened.length, 4);
  });

  it('gives up nothing that is still read as it came', async (t) => {
    const { source, cache } = await opened({ most: 4 * MIB });
    t.after(() => cache.end());
    const [one, other] = [randomBytes(3 * MIB), randomBytes(2 * MIB)];
    source.put(one);
    source.put(other);
    const slow = await cache.open(promised('one', one), 'whole');
    await slow.check();
    assert.deepEqual(await whole(await cache.open(promised('other', other), 'whole'), other.length), other);
    assert.equal(cache.room.bytes, one.length);
    assert.deepEqual(await whole(slow, one.length), one);
    assert.deepEqual(await whole(await cache.open(promised('other', other), 'parts'), other.length), other);
  });

  it('keeps back the end of what was changed in the store, refuses it until that is right, and keeps nothing', async (t) => {
    const { source, cache, said, folder, later } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(3 * MIB);
    const changed = Buffer.from(bytes);
    changed[100] = (changed[100] ?? 0) ^ 1;
    const file = promised('arch/initrd', bytes);
    source.objects.set(file.sha256, changed);
    await assert.rejects(
      whole(await cache.open(file, 'whole'), bytes.length),
      refused('drifted', /its bytes were changed/),
    );
    assert.equal(cache.refusalOf(file)?.code, 'drifted');
    assert.deepEqual(await readdir(folder), ['lock']);
    for (const use of ['whole', 'parts', 'nothing'] as const)
      await assert.rejects(cache.open(file, use), refused('drifted'), use);
    // Not asked for again at once.
    assert.equal(source.opened.length, 1);
    source.objects.set(file.sha256, bytes);
    later(6_000);
    assert.deepEqual(await whole(await cache.open(file, 'parts'), bytes.length), bytes);
    assert.equal(cache.refusalOf(file), undefined);
    assert.deepEqual(said.slice(-3), ['miss', `fetched ${bytes.length}`, 'restored arch/initrd']);
  });

  it('says of wrong bytes that have left that they are wrong, though the store is right by then', async (t) => {
    const { source, cache, later } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(MIB);
    const file = promised('arch/initrd', bytes);
    source.objects.set(file.sha256, randomBytes(MIB));
    const open = await cache.open(file, 'whole');
    const got = Buffer.alloc(65_536);
    await open.read(got, 0);
    source.objects.set(file.sha256, bytes);
    await assert.rejects(open.check(), refused('drifted'));
    later(6_000);
    await assert.rejects(open.check(), refused('drifted'));
    await open.close();
  });

  for (const [what, change] of [
    ['is shorter', (bytes: Buffer) => bytes.subarray(1)],
    ['is longer', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('x')])],
    ['is gone', () => undefined],
  ] as const)
    it(`refuses what ${what}, before any of it leaves`, async (t) => {
      const { source, cache } = await opened();
      t.after(() => cache.end());
      const bytes = randomBytes(100_000);
      const file = promised('file', bytes);
      const there = change(bytes);
      if (there) source.objects.set(file.sha256, there);
      await assert.rejects(cache.open(file, 'nothing'), refused('drifted'));
      await assert.rejects(cache.open(file, 'parts'), refused('drifted'));
    });

  it('answers "unreachable" while the store is away, says so, and goes on giving what it has', async (t) => {
    const { source, cache, said, later } = await opened();
    t.after(() => cache.end());
    const here = randomBytes(1000);
    const there = randomBytes(2000);
    source.put(here);
    source.put(there);
    const [one, other] = [promised('one', here), promised('other', there)];
    await whole(await cache.open(one, 'whole'), 1000);
    source.away = true;
    for (const use of ['parts', 'nothing'] as const)
      await assert.rejects(cache.open(other, use), refused('unreachable'));
    await assert.rejects(whole(await cache.open(other, 'whole'), 2000), (error: unknown) => {
      assert.ok(error instanceof Refusal);
      assert.deepEqual([error.code, error.facts.seconds], ['unreachable', 5]);
      return true;
    });
    assert.match(cache.warnings.join(), /store cannot be reached.*The engine is away/);
    assert.equal(cache.refusalOf(other), undefined);
    assert.deepEqual(await whole(await cache.open(one, 'parts'), 1000), here);
    // Where all is here nobody asks the store again, which may long be back.
    later(60_000);
    assert.deepEqual(cache.warnings, []);
    await assert.rejects(cache.open(other, 'parts'), refused('unreachable'));
    assert.notDeepEqual(cache.warnings, []);
    source.away = false;
    assert.deepEqual(await whole(await cache.open(other, 'parts'), 2000), there);
    assert.deepEqual(cache.warnings, []);
    assert.ok(!said.some((line) => line.startsWith('refused')));
  });

  it('keeps nobody waiting for an object that does not come but who asked for it', async (t) => {
    const { source, cache } = await opened();
    t.after(() => cache.end());
    const slow = randomBytes(1000);
    const quick = randomBytes(1001);
    source.put(slow);
    source.put(quick);
    const never = gate();
    source.gate = () => (source.opened.at(-1) === digest(slow) ? never.passed : Promise.resolve());
    const waiting = await cache.open(promised('slow', slow), 'whole');
    assert.deepEqual(await whole(await cache.open(promised('quick', quick), 'parts'), 1001), quick);
    never.open();
    assert.deepEqual(await whole(waiting, 1000), slow);
  });

  it('gives up what was used least recently, and nothing that is open', async (t) => {
    const { source, cache, folder } = await opened({ most: 3 * MIB });
    t.after(() => cache.end());
    const files = [1, 2, 3, 4].map((n) => {
      const bytes = Buffer.alloc(MIB, n);
      source.put(bytes);
      return { bytes, file: promised(`file${n}`, bytes) };
    });
    const [a, b, c, d] = files;
    assert.ok(a && b && c && d);
    const held = await cache.open(a.file, 'parts');
    for (const { file } of [b, c]) await whole(await cache.open(file, 'parts'), MIB);
    await whole(await cache.open(b.file, 'parts'), MIB);
    await whole(await cache.open(d.file, 'parts'), MIB);
    const names = new Set(await readdir(folder));
    assert.deepEqual(
      [a, b, c, d].map(({ file }) => names.has(file.sha256)),
      [true, true, false, true],
    );
    assert.ok(cache.room.bytes <= 3 * MIB);
    assert.deepEqual(await whole(held, MIB), a.bytes);
  });

  it('hands on, and judges, what it has no room for, to who takes all of it; a part is refused', async (t) => {
    const { source, cache, folder } = await opened({ most: MIB });
    t.after(() => cache.end());
    const bytes = randomBytes(2 * MIB + 17);
    const file = promised('large', bytes);
    source.put(bytes);
    assert.deepEqual(await whole(await cache.open(file, 'whole'), bytes.length), bytes);
    await assert.rejects(
      cache.open(file, 'parts'),
      refused('unreachable', /the cache of this server has 1048576 bytes/),
    );
    const changed = Buffer.from(bytes);
    changed[2 * MIB] = (changed[2 * MIB] ?? 0) ^ 1;
    source.objects.set(file.sha256, changed);
    await assert.rejects(whole(await cache.open(file, 'whole'), bytes.length), refused('bad-signature'));
    assert.deepEqual(await readdir(folder), ['lock']);
  });

  it('hands on the very bytes that it hashed, also to who reads them a second time', async (t) => {
    const { source, cache } = await opened({ most: 1000 });
    t.after(() => cache.end());
    const bytes = randomBytes(300_000);
    const file = promised('large', bytes);
    source.put(bytes);
    const open = await cache.open(file, 'whole');
    const first = Buffer.alloc(100_000);
    await open.read(first, 0);
    // A slow client gives up what was read ahead, and reads it again in smaller pieces.
    source.objects.set(file.sha256, randomBytes(300_000));
    const again = Buffer.alloc(1000);
    await open.read(again, 50_000);
    assert.deepEqual(again, bytes.subarray(50_000, 51_000));
    await assert.rejects(open.read(again, 200_000), RangeError);
    await assert.rejects(open.check(), RangeError);
    await open.close();
  });

  it('refuses what a seal does not fit, for that release alone', async (t) => {
    const { source, cache, later } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(5000);
    source.put(bytes);
    let seal: Refusal | undefined = new Refusal('bad-signature', 'The seal is of another file.', {});
    const bad = promised('a/kernel', bytes, () => seal);
    const good = promised('b/kernel', bytes);
    await assert.rejects(
      whole(await cache.open(bad, 'whole'), 5000),
      refused('bad-signature', /another file/),
    );
    assert.deepEqual(await whole(await cache.open(good, 'parts'), 5000), bytes);
    await assert.rejects(cache.open(bad, 'parts'), refused('bad-signature'));
    assert.equal(cache.refusalOf(good), undefined);
    seal = undefined;
    later(6_000);
    assert.deepEqual(await whole(await cache.open(bad, 'parts'), 5000), bytes);
    assert.equal(source.opened.length, 1);
  });

  it('reads what an earlier process left before it uses any of it, and removes what was unfinished', async (t) => {
    const folder = join(await temporaryFolder(), 'cache');
    const [kept, spoilt] = [randomBytes(9000), randomBytes(9001)];
    await mkdir(folder, { mode: 0o700 });
    await writeFile(join(folder, digest(kept)), kept);
    await writeFile(join(folder, digest(spoilt)), Buffer.alloc(9001));
    const unfinished = `.${digest(kept)}-0123456789abcdef`;
    await writeFile(join(folder, unfinished), kept.subarray(0, 100));
    const { source, cache, said } = await opened({ folder });
    t.after(() => cache.end());
    assert.ok(!(await readdir(folder)).includes(unfinished));
    source.put(spoilt);
    assert.deepEqual(await whole(await cache.open(promised('kept', kept), 'whole'), 9000), kept);
    assert.equal(source.opened.length, 0);
    assert.deepEqual(await whole(await cache.open(promised('spoilt', spoilt), 'whole'), 9001), spoilt);
    assert.deepEqual(said, ['miss', 'miss', 'lost spoilt', 'fetched 9001']);
    assert.deepEqual(await readFile(join(folder, digest(spoilt))), spoilt);
  });

  it('fetches again what was changed in its own folder', async (t) => {
    const { source, cache, said, folder } = await opened();
    t.after(() => cache.end());
    const bytes = randomBytes(70_000);
    source.put(bytes);
    const file = promised('file', bytes);
    await whole(await cache.open(file, 'whole'), 70_000);
    const open = await cache.open(file, 'parts');
    await writeFile(join(folder, file.sha256), Buffer.alloc(70_000));
    await assert.rejects(whole(open, 70_000), refused('drifted'));
    assert.deepEqual(await whole(await cache.open(file, 'parts'), 70_000), bytes);
    assert.ok(said.includes('lost file'));
    assert.equal(source.opened.length, 2);
    // Its times put back, its bytes changed: what a scrub finds out ends it, too.
    const [pinned] = cache.files;
    assert.ok(pinned);
    await utimes(pinned.path, 1, 1);
    assert.deepEqual(await whole(await cache.open(file, 'parts'), 70_000), bytes);
    assert.equal(source.opened.length, 3);
  });

  it('takes no folder that is open to others, or holds other things, or is somebody’s already', async (t) => {
    const base = await temporaryFolder();
    const source = new TestSource();
    const at = (name: string) =>
      ContentCache.open({ source, folder: join(base, name), most: MIB, events: heard() });
    await mkdir(join(base, 'open'));
    await chmod(join(base, 'open'), 0o755);
    await assert.rejects(at('open'), { name: 'UsageError', message: /open to others/ });
    await mkdir(join(base, 'home'), { mode: 0o700 });
    await writeFile(join(base, 'home', 'thesis.txt'), '');
    await assert.rejects(at('home'), { name: 'UsageError', message: /no cache: it holds thesis\.txt/ });
    const cache = await at('mine');
    t.after(() => cache.end());
    await assert.rejects(at('mine'), { name: 'IoError', code: 'EWOULDBLOCK' });
  });

  it('does without its disk where that is gone: what is wanted whole is handed on, a part is refused', async (t) => {
    const { source, cache, folder, later } = await opened();
    t.after(() => cache.end().catch(() => {}));
    const bytes = randomBytes(200_000);
    source.put(bytes);
    const file = promised('file', bytes);
    await rm(folder, { recursive: true });
    assert.deepEqual(await whole(await cache.open(file, 'whole'), 200_000), bytes);
    await assert.rejects(cache.open(file, 'parts'), refused('unreachable', /cannot be served in parts now/));
    assert.match(cache.warnings.join(), /the cache cannot be written to/);
    await mkdir(folder, { mode: 0o700 });
    later(31_000);
    assert.deepEqual(await whole(await cache.open(file, 'parts'), 200_000), bytes);
    assert.deepEqual(cache.warnings, []);
  });

  it('ends while its store is silent, and leaves nothing of what was on its way', async () => {
    const { source, cache, folder } = await opened();
    const bytes = randomBytes(6 * MIB);
    source.put(bytes);
    const file = promised('rootfs', bytes);
    const silent = gate();
    source.gate = (position) => (position >= 4 * MIB ? silent.passed : Promise.resolve());
    const open = await cache.open(file, 'whole');
    await fill(open, Buffer.alloc(4 * MIB), 0, 4 * MIB);
    await cache.end();
    assert.deepEqual(await readdir(folder), ['lock']);
    await assert.rejects(whole(open, bytes.length), { name: 'IoError', message: /The server is closing/ });
    await assert.rejects(cache.open(promised('other', randomBytes(9)), 'whole'), { name: 'IoError' });
    silent.open();
  });

  it('has a temporary folder where none was named, and takes it away', async () => {
    const cache = await ContentCache.open({ source: new TestSource(), most: MIB, events: heard() });
    const before = new Set(await readdir(tmpdir()));
    await cache.end();
    const after = new Set(await readdir(tmpdir()));
    const gone = [...before].filter((name) => !after.has(name) && name.startsWith('bootseal-cache-'));
    assert.ok(gone.length > 0);
  });
});
