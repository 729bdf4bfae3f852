import assert from 'node:assert/strict';
import { appendFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { BucketLines } from '../../src/boots/bucket-lines.ts';
import { BucketShelf, type SegmentBucket } from '../../src/boots/bucket-shelf.ts';
import { receiptFacts } from '../../src/boots/receipt.ts';
import { Receipts } from '../../src/boots/receipts.ts';
import { folderShelf, type SegmentShelf } from '../../src/boots/segment-shelf.ts';
import { nameOfTime, type Retention, seriesOf } from '../../src/boots/segments.ts';
import { IoError } from '../../src/errors/io.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { MemoryBackend } from '../store/memory-backend.ts';
import { MAC, OTHER, Scene } from './scene.ts';

const SECOND = 1000;
const DAY = 86_400 * SECOND;
const MIB = 1024 * 1024;
const START = Date.UTC(2026, 10, 1);
const KEEP = { keepMs: 400 * DAY, keepBytes: 2048 * MIB };

/** A bucket that says what it was asked, and may be away. */
class Bucket extends MemoryBackend {
  readonly asked: string[] = [];
  fault: Error | undefined;

  #ask(what: string): void {
    this.asked.push(what);
    if (this.fault) throw this.fault;
  }

  override async get(key: string, most?: number) {
    this.#ask(`get ${key}`);
    return super.get(key, most);
  }

  override async put(key: string, bytes: Uint8Array) {
    this.#ask(`put ${key}`);
    return super.put(key, bytes);
  }

  override async remove(key: string) {
    this.#ask(`remove ${key}`);
    return super.remove(key);
  }

  override async eachBelow(...given: Parameters<MemoryBackend['eachBelow']>) {
    this.#ask(`list ${given[0]}`);
    return super.eachBelow(...given);
  }

  /** Since the last time. */
  told(): readonly string[] {
    return this.asked.splice(0);
  }
}

interface Given extends Partial<Retention> {
  readonly bucket: SegmentBucket;
  readonly server?: string;
  readonly monotonic?: () => number;
}

function linesAt({ bucket, server = 'lab', monotonic = () => 0, ...more }: Given) {
  const shelf = new BucketShelf(bucket);
  const retention = { clock: () => START, ...KEEP, ...more };
  const lines = new BucketLines({ bucket, shelf, server, retention, monotonic });
  return { shelf, lines };
}

/** A server's boots; its lines and its boots have the same clocks. */
function sceneAt(
  bucket: SegmentBucket,
  server = 'lab',
  options: ConstructorParameters<typeof Scene>[0] = {},
) {
  const clocks: { scene?: Scene } = {};
  const { shelf, lines } = linesAt({
    ...{ bucket, server },
    clock: () => clocks.scene?.wall ?? START,
    monotonic: () => clocks.scene?.mono ?? 0,
  });
  const scene = new Scene({ lines, ...options });
  clocks.scene = scene;
  /** What a server does when it begins. */
  const begin = async () => {
    await new Receipts(shelf, scene.boots.index).read(0, lines.series);
    await scene.boots.resume((series) => lines.isOwn(series));
  };
  return { scene, lines, shelf, begin };
}

async function readAll(bucket: SegmentBucket): Promise<readonly string[]> {
  const receipts = new Receipts(new BucketShelf(bucket));
  await receipts.read();
  const found = await receipts.find({}, 1000);
  return found.toReversed().map(({ machine, outcome, stage }) => `${machine || '?'} ${outcome} at ${stage}`);
}

const segmentsOf = async (bucket: SegmentBucket) => new BucketShelf(bucket).list();
/** What was begun meanwhile has come to its end. */
const soon = () => new Promise((resolve) => setImmediate(resolve));

/** What is asked of a place for segments. */
function contract(
  name: string,
  make: () => Promise<{
    readonly shelf: SegmentShelf;
    write(path: string, text: string): Promise<void>;
    add(path: string, text: string): Promise<void>;
    remove(path: string): Promise<void>;
  }>,
): void {
  const [one, two] = ['a/20261101T000000000Z.jsonl', 'b.c-1/20261102T000000000Z.jsonl'] as const;
  const read = async (shelf: SegmentShelf, segment: string, from: number) => {
    const found: [string, number, number][] = [];
    const end = await shelf.lines(segment, from, (line, offset, length) =>
      found.push([line.toString(), offset, length]),
    );
    return [end, ...found];
  };

  describe(`segments in ${name}`, () => {
    it('are listed by server and time, and nothing else is', async () => {
      const { shelf, write } = await make();
      assert.deepEqual(await shelf.list(), []);
      const later = 'a/20261103T000000000Z.jsonl';
      for (const path of [two, later, one, 'a/lock', 'a/x.jsonl', 'b.c-1/20261102T000000000Z.jsonl.new'])
        await write(path, 'x\n');
      assert.deepEqual(await shelf.list(), [one, later, two]);
    });

    it('are read from where somebody stopped; what has no end yet is no line', async () => {
      const { shelf, write, add } = await make();
      await write(one, 'first\nsecond\nthi');
      await shelf.list();
      for (const _ of [1, 2])
        assert.deepEqual(await read(shelf, one, 0), [13, ['first', 0, 6], ['second', 6, 7]]);
      assert.deepEqual(await read(shelf, one, 6), [13, ['second', 6, 7]]);
      await shelf.list();
      assert.deepEqual(await read(shelf, one, 13), [13]);
      await add(one, 'rd\nfourth\n');
      await shelf.list();
      assert.deepEqual(await read(shelf, one, 13), [26, ['third', 13, 6], ['fourth', 19, 7]]);
      await shelf.list();
      assert.deepEqual(await read(shelf, one, 26), [26]);
      await add(one, `${'x'.repeat(40_000)}\nlast\n`);
      await shelf.list();
      const [end, ...lines] = await read(shelf, one, 26);
      assert.deepEqual([end, lines.at(-1)], [40_032, ['last', 40_027, 5]]);
    });

    it('give one line; one that is gone, or was never there, is none', async () => {
      const { shelf, write, add, remove } = await make();
      await write(one, 'first\n');
      await write(two, 'other\n');
      await shelf.list();
      assert.equal(await shelf.line({ segment: one, offset: 0, length: 6 }), 'first');
      await add(one, 'sécond\n');
      assert.equal(await shelf.line({ segment: one, offset: 6, length: 8 }), 'sécond');
      assert.equal(await shelf.line({ segment: one, offset: 6, length: 9 }), undefined);
      await remove(two);
      assert.deepEqual(await read(shelf, two, 0), [0]);
      assert.equal(await shelf.line({ segment: two, offset: 0, length: 6 }), undefined);
      assert.deepEqual(await shelf.list(), [one]);
    });
  });
}

contract('a folder', async () => {
  const folder = await temporaryFolder();
  const write = async (path: string, text: string) => {
    await mkdir(join(folder, path, '..'), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  return {
    shelf: folderShelf(folder),
    write,
    add: (path, text) => appendFile(join(folder, path), text),
    remove: (path) => rm(join(folder, path)),
  };
});

contract('a bucket', async () => {
  const bucket = new MemoryBackend();
  const write = (path: string, text: string) => bucket.put(`boots/${path}`, Buffer.from(text));
  return {
    shelf: new BucketShelf(bucket),
    write,
    add: async (path, text) => {
      const before = Buffer.from((await bucket.get(`boots/${path}`))?.bytes ?? []).toString();
      await write(path, before + text);
    },
    remove: (path) => bucket.remove(`boots/${path}`),
  };
});

describe('receipts in a bucket', () => {
  it('are read by another process as they were told', async () => {
    const bucket = new Bucket();
    const { scene, lines } = sceneAt(bucket);
    scene.offered().pass(1).whole().pass(1).reported('verified').pass(1).script(OTHER, '10.0.0.8');
    const told = await scene.all();
    await scene.boots.close();
    const receipts = new Receipts(new BucketShelf(bucket));
    await receipts.read();
    assert.deepEqual((await receipts.find({}, 10)).toReversed().map(receiptFacts), told.map(receiptFacts));
    assert.match(lines.series, /^lab-[0-9a-f]{8}$/);
    for (const segment of await segmentsOf(bucket)) {
      assert.equal(seriesOf(segment), lines.series);
      const text = Buffer.from((await bucket.get(`boots/${segment}`))?.bytes ?? []).toString();
      for (const line of text.trimEnd().split('\n')) assert.equal(typeof JSON.parse(line), 'object');
    }
  });

  it('are put whole, at most every five seconds, while there are new ones', async () => {
    const bucket = new Bucket();
    const { scene } = sceneAt(bucket);
    scene.pass(60);
    assert.deepEqual(bucket.told(), []);
    scene.script(MAC);
    await scene.boots.settled();
    assert.deepEqual(bucket.told(), [], 'a line is taken before it is put');
    for (let second = 0; second < 30; second += 1) {
      const card = `52:54:00:00:01:${second.toString(16).padStart(2, '0')}`;
      scene.script(card, '10.0.0.9', 'local');
      await scene.boots.settled();
      scene.pass(1);
      await soon();
    }
    const puts = bucket.told();
    assert.equal(puts.length, 6);
    assert.equal(new Set(puts).size, 1);
    scene.pass(5);
    await soon();
    bucket.told();
    scene.pass(20);
    await soon();
    assert.deepEqual(bucket.told(), [], 'nothing was added');
    await scene.boots.close();
    assert.equal((await readAll(bucket)).length, 31);
  });

  it('a segment ends after a mebibyte or a day, and is never changed then', async () => {
    const bucket = new Bucket();
    let [now, mono] = [START, 0];
    const { lines, shelf } = linesAt({ bucket, clock: () => now, monotonic: () => mono });
    const line = Buffer.from(`${'x'.repeat(9999)}\n`);
    const places: { segment: string; offset: number; length: number }[] = [];
    const put = async () => {
      mono += 5 * SECOND;
      lines.tick();
      await soon();
    };
    for (let count = 0; count < 250; count += 1) {
      places.push(await lines.append(line));
      if (count % 30 === 0) await put();
    }
    await put();
    const [first = '', second = '', third = '', ...more] = await shelf.list();
    assert.deepEqual(more, []);
    assert.deepEqual(
      [first, second, third].map((segment) => segment.slice(-20)),
      [0, 1, 2].map((ms) => nameOfTime(START + ms).slice(-20)),
    );
    const sizes = await Promise.all(
      [first, second, third].map(async (segment) => (await bucket.facts(`boots/${segment}`))?.size),
    );
    assert.deepEqual(sizes, [1_040_000, 1_040_000, 420_000]);
    now += DAY + 1;
    await lines.append(line);
    bucket.told();
    await put();
    const fourth = `${lines.series}/${nameOfTime(now)}`;
    assert.deepEqual(bucket.told(), [`put boots/${fourth}`]);
    for (const place of places) assert.equal(await lines.read(place), 'x'.repeat(9999));
    await lines.close();
    assert.ok(bucket.told().every((what) => !what.startsWith('put') || what.endsWith(fourth)));
  });

  it('a put that fails is told as a full disk is, and loses nothing', async () => {
    const bucket = new Bucket();
    const said: string[] = [];
    const log = {
      info: (_: object, text: string) => said.push(text),
      warn: () => {},
      error: (_: object, text: string) => said.push(text),
    };
    const { scene } = sceneAt(bucket, 'lab', { log });
    bucket.fault = new IoError('s3://lab/x cannot be written: no answer.', 's3://lab/x', undefined);
    scene.whole().pass(1).reported('verified');
    await scene.boots.settled();
    for (let seconds = 0; seconds < 20; seconds += 1) {
      scene.pass(1);
      await soon();
    }
    assert.match(scene.boots.fault ?? '', /no answer/);
    scene.script(OTHER, '10.0.0.8', 'local');
    assert.deepEqual(await scene.said(), [`${MAC} verified at report`, `${OTHER} local at script`]);
    assert.equal(bucket.told().length, 5, 'one attempt every five seconds of 21');
    bucket.fault = undefined;
    for (let seconds = 0; seconds < 6; seconds += 1) {
      scene.pass(1);
      await soon();
    }
    assert.equal(scene.boots.fault, undefined);
    assert.deepEqual(said, [
      'receipts of boots cannot be written; boots go on',
      'receipts are written again',
    ]);
    assert.deepEqual(await readAll(bucket), [`${MAC} verified at report`, `${OTHER} local at script`]);
    const receipts = new Receipts(new BucketShelf(bucket));
    await receipts.read();
    assert.deepEqual(
      (await receipts.find({}, 9)).map(({ incomplete }) => incomplete),
      [undefined, undefined],
    );
    await scene.boots.close();
  });

  it('where nothing may be written, memory is bounded, and nothing that it holds is lost', async () => {
    const bucket = new Bucket();
    let mono = 0;
    const { lines } = linesAt({ bucket, monotonic: () => mono });
    bucket.fault = new IoError('s3://lab/x cannot be written: access is denied.', 's3://lab/x', 'EACCES');
    const line = Buffer.from(`${'x'.repeat(16_000)}\n`);
    await lines.append(line);
    lines.tick();
    await soon();
    let taken = 1;
    await assert.rejects(async () => {
      for (; taken < 10_000; taken += 1) await lines.append(line);
    }, /access is denied/);
    assert.ok(taken * line.length > 15 * MIB && taken * line.length <= 16 * MIB, `${taken}`);
    bucket.fault = undefined;
    mono += 5 * SECOND;
    lines.tick();
    // As many puts as segments.
    for (let turns = 0; turns < 100; turns += 1) await soon();
    await lines.append(line);
    await lines.close();
    let read = 0;
    const shelf = new BucketShelf(bucket);
    for (const segment of await shelf.list())
      await shelf.lines(segment, 0, ({ length }) => {
        if (length === 16_000) read += 1;
      });
    assert.equal(read, taken + 1);
  });

  it('boots go on and are shown where nothing may be written, and the server ends', async () => {
    const bucket = new Bucket();
    const { scene } = sceneAt(bucket);
    bucket.fault = new IoError('s3://lab/x cannot be written: access is denied.', 's3://lab/x', 'EACCES');
    scene.whole().pass(1).reported('verified').pass(6);
    await soon();
    scene.pass(1);
    assert.match(scene.boots.fault ?? '', /access is denied/);
    assert.deepEqual(await scene.said(), [`${MAC} verified at report`]);
    await assert.rejects(scene.boots.close(), /access is denied/);
  });

  it('a server that starts again knows all, and goes on with what one of its name ended with', async () => {
    const bucket = new Bucket();
    const before = sceneAt(bucket);
    before.scene.whole(OTHER, '10.0.0.8').pass(1).reported('verified', OTHER, '10.0.0.8').pass(1).whole(MAC);
    await before.scene.boots.close();
    const after = sceneAt(bucket);
    after.scene.wall = before.scene.wall + 60_000;
    await after.begin();
    assert.deepEqual(await after.scene.said(), [
      `${OTHER} verified at report`,
      `${MAC} running at userspace`,
    ]);
    after.scene.reported('verified');
    assert.deepEqual(await after.scene.said(), [`${OTHER} verified at report`, `${MAC} verified at report`]);
    await after.scene.boots.close();
    assert.equal(new Set((await segmentsOf(bucket)).map(seriesOf)).size, 2);
    assert.deepEqual(await readAll(bucket), [`${OTHER} verified at report`, `${MAC} verified at report`]);
  });

  it('what another server has in hand, or one that was killed, is left alone for a day', async () => {
    for (const server of ['other', 'lab', 'lab-2']) {
      const bucket = new Bucket();
      const before = sceneAt(bucket, server);
      before.scene.whole(MAC);
      await before.scene.boots.settled();
      before.scene.pass(6);
      await soon();
      const after = sceneAt(bucket);
      after.scene.wall = before.scene.wall + 60_000;
      await after.begin();
      after.scene.pass(3600);
      await after.scene.boots.close();
      assert.deepEqual(await readAll(bucket), [`${MAC} running at userspace`], server);
      const late = sceneAt(bucket);
      late.scene.wall = before.scene.wall + 2 * DAY;
      await late.begin();
      await late.scene.boots.close();
      assert.deepEqual(await readAll(bucket), [`${MAC} lost at userspace`], server);
    }
  });

  it('the newest line of a boot counts, whatever the series are called', async () => {
    for (const [first, second] of [
      ['lab-00000000', 'lab-ffffffff'],
      ['lab-ffffffff', 'lab-00000000'],
    ]) {
      const bucket = new Bucket();
      const { scene, lines } = sceneAt(bucket);
      scene.whole();
      await scene.boots.settled();
      const text = async () => {
        await lines.close();
        const [segment = ''] = await segmentsOf(bucket);
        const { bytes } = (await bucket.get(`boots/${segment}`)) ?? assert.fail();
        await bucket.remove(`boots/${segment}`);
        return Buffer.from(bytes).toString().split('\n').slice(0, -2);
      };
      const running = await text();
      scene.pass(1).reported('verified');
      await scene.boots.settled();
      const verified = (await text()).slice(-1);
      const at = (series = '', time = 0) => `boots/${series}/${nameOfTime(time)}`;
      await bucket.put(at(first, START), Buffer.from(`${running.join('\n')}\n`));
      await bucket.put(at(second, START + 1), Buffer.from(`${verified.join('\n')}\n`));
      assert.deepEqual(await readAll(bucket), [`${MAC} verified at report`]);
    }
  });

  it('two servers never write one key, and each reads what the other added and no more', async () => {
    const bucket = new Bucket();
    const [one, two] = [sceneAt(bucket), sceneAt(bucket)];
    assert.notEqual(one.lines.series, two.lines.series);
    const seen = new Receipts(two.shelf, two.scene.boots.index);
    const pass = async () => {
      await Promise.all([one.scene.boots.settled(), two.scene.boots.settled()]);
      one.scene.pass(6);
      two.scene.pass(6);
      await soon();
      bucket.told();
    };
    one.scene.whole(MAC);
    two.scene.whole(OTHER, '10.0.0.8');
    await pass();
    assert.equal((await seen.read(0, two.lines.series)).size, 1);
    const [own = ''] = (await segmentsOf(bucket)).filter((each) => seriesOf(each) === one.lines.series);
    assert.deepEqual(bucket.told(), ['list boots', `get boots/${own}`, 'list boots']);
    assert.equal((await seen.read(0, two.lines.series)).size, 0);
    assert.deepEqual(bucket.told(), ['list boots'], 'what did not grow is not read again');
    one.scene.reported('verified');
    await pass();
    assert.equal((await seen.read(0, two.lines.series)).size, 1);
    assert.deepEqual((await two.scene.said()).toSorted(), [
      `${MAC} verified at report`,
      `${OTHER} running at userspace`,
    ]);
    // Memory answers `open` by `get`. The line itself was had with the list.
    assert.deepEqual(bucket.told(), ['list boots', `get boots/${own}`]);
    await Promise.all([one.scene.boots.close(), two.scene.boots.close()]);
    const series = (await segmentsOf(bucket)).map(seriesOf);
    assert.deepEqual(new Set(series), new Set([one.lines.series, two.lines.series]));
  });

  it('what is put again while it is read comes whole, and what is no segment of ours is passed over', async () => {
    const bucket = new Bucket();
    const segment = `a/${nameOfTime(START)}`;
    await bucket.put(`boots/${segment}`, Buffer.from('one\n'));
    await bucket.put(`boots/b/${nameOfTime(START)}`, Buffer.alloc(2 * MIB, 'x\n'));
    const shelf = new BucketShelf({
      ...{ put: async () => {}, remove: async () => {} },
      get: (key, most) => bucket.get(key, most),
      eachBelow: (...given) => bucket.eachBelow(...given),
      open: async () => ({
        size: 8,
        read: async () => {
          throw new IoError('It was replaced while it was read.', segment, undefined);
        },
        close: async () => {},
      }),
    });
    const read = async (from: number) => {
      const lines: string[] = [];
      for (const each of await shelf.list())
        await shelf.lines(each, seriesOf(each) === 'a' ? from : 0, (line) => lines.push(line.toString()));
      return lines;
    };
    assert.deepEqual(await read(0), ['one']);
    await bucket.put(`boots/${segment}`, Buffer.from('one\ntwo\n'));
    assert.deepEqual(await read(4), ['two']);
    assert.ok(!bucket.told().some((what) => what.startsWith('get boots/b/')));
    await shelf.list();
    assert.equal(await shelf.line({ segment: `b/${nameOfTime(START)}`, offset: 0, length: 2 }), undefined);
  });
});

describe('what is kept in a bucket', () => {
  /** Segments of a server, one a day, the newest as many days ago. */
  const fill = async (bucket: SegmentBucket, series: string, days: number, ago = 0) => {
    for (let day = 0; day < days; day += 1)
      await bucket.put(
        `boots/${series}/${nameOfTime(START - (ago + days - 1 - day) * DAY)}`,
        Buffer.from('{}\n'),
      );
  };

  it('ends by age: the oldest of all servers, one each time', async () => {
    const bucket = new Bucket();
    await fill(bucket, 'gone', 5, 20);
    await fill(bucket, 'here', 30);
    const { lines } = linesAt({ bucket, keepMs: 10 * DAY });
    const gone: string[] = [];
    for (let look = 0; look < 60; look += 1) {
      const old = await lines.collect();
      assert.ok(old.length <= 1);
      gone.push(...old);
    }
    // A segment has lines of the day that followed its beginning.
    assert.equal(gone.length, 5 + 19 - 1);
    assert.deepEqual(await segmentsOf(bucket).then((all) => new Set(all.map(seriesOf))), new Set(['here']));
    assert.deepEqual(
      gone.map((segment) => segment.slice(-25)).toSorted(),
      gone.map((segment) => segment.slice(-25)),
    );
  });

  it('a clock that is years ahead for an hour leaves nearly all of it', async () => {
    const bucket = new Bucket();
    let now = START;
    await fill(bucket, 'here', 30);
    const { lines } = linesAt({ bucket, clock: () => now });
    await lines.append(Buffer.from('{}\n'));
    now += 10_000 * DAY;
    await lines.append(Buffer.from('{}\n'));
    for (let look = 0; look < 6; look += 1) await lines.collect();
    now -= 10_000 * DAY;
    await lines.append(Buffer.from('{}\n'));
    await lines.collect();
    await lines.close();
    assert.ok((await segmentsOf(bucket)).length >= 24 + 3);
  });

  it('holds what a server may still add to, however long it added nothing', async () => {
    const bucket = new Bucket();
    let now = START;
    const { lines, shelf } = linesAt({ bucket, keepMs: 10 * DAY, clock: () => now });
    await lines.append(Buffer.from('{}\n'));
    lines.tick();
    await soon();
    now += 20 * DAY;
    assert.deepEqual(await lines.collect(), []);
    assert.equal((await shelf.list()).length, 1);
    assert.equal((await linesAt({ bucket, keepMs: 10 * DAY, clock: () => now }).lines.collect()).length, 1);
  });

  it('ends by size over all servers, but for the newest of those that may still write', async () => {
    const bucket = new Bucket();
    await fill(bucket, 'lives-00000001', 1, 300);
    await fill(bucket, 'ended-00000001', 1, 200);
    await fill(bucket, 'many-00000001', 40);
    const closed = linesAt({ bucket, server: 'ended', clock: () => START - 250 * DAY });
    await closed.lines.append(Buffer.from('{}\n'));
    await closed.lines.close();
    const { lines, shelf } = linesAt({ bucket, keepBytes: 32 * MIB });
    // As a server that has read what is there.
    await new Receipts(shelf).read();
    const own = await lines.append(Buffer.from('{}\n'));
    const gone = await lines.collect();
    const left = await segmentsOf(bucket);
    assert.equal(left.length, 32);
    assert.ok(gone.some((segment) => seriesOf(segment) === closed.lines.series));
    assert.deepEqual([...new Set(left.map(seriesOf))], ['ended-00000001', 'lives-00000001', 'many-00000001']);
    await lines.close();
    assert.ok((await segmentsOf(bucket)).includes(own.segment));
    assert.deepEqual(await linesAt({ bucket }).lines.collect(), []);
  });
});
