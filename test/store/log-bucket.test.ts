import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { encodeCheckpointFile } from '../../src/formats/records/checkpoint.ts';
import { type Act, recordAct, recordActs, TransparencyLog } from '../../src/store/log.ts';
import { auditLog } from '../../src/store/log-audit.ts';
import { BucketLog } from '../../src/store/log-bucket.ts';
import { entryKey, findEnd, nodesKey } from '../../src/store/log-bucket-objects.ts';
import { logKey, readCheckpoint } from '../../src/store/log-files.ts';
import { readLogPage } from '../../src/store/log-page.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import type { LogStore, SignCheckpoint } from '../../src/store/log-store.ts';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { Died, Turns } from '../fixtures/turns.ts';
import { refused } from '../trust/judge.ts';
import { texts } from './log-contract.ts';
import { bucketLogs } from './log-makers.ts';
import { actOf, makeLogKey, record } from './logs.ts';
import { MemoryBackend } from './memory-backend.ts';
import { watched } from './watched-backend.ts';

const folder = await temporaryFolder();
const key = await makeLogKey(join(folder, 'key'));
const HEAD = logKey('checkpoint');
const policy = defaultPolicy(NOW + 86_400_000);
const { make, copy, rewrite, forget, rederive } = bucketLogs();
const over = (records: BucketLog['records']) => new BucketLog({ records, where: 's3://bucket/state' });
const audit = (log: LogStore, allowWaiting = false) =>
  auditLog(log, key.certificates, policy, undefined, allowWaiting);
/** For who counts steps: a seal that no reader takes. The last checkpoint of each test is a real one. */
const scribble: SignCheckpoint = async (bytes) => bytes;

/** Acts of one writer, which say so. */
const said = (writer: number, count: number): Act[] =>
  Array.from({ length: count }, (_, at) => actOf(at, { origin: `writer ${writer}, act ${at}` }));

async function origins(log: LogStore): Promise<string[]> {
  const found: string[] = [];
  await log.scan(0, ({ entry }) => void found.push(entry.origin ?? ''));
  return found;
}

describe('two writers of a bucket', () => {
  it('who has the log open finds what the other has added, and numbers its own entry after it', async () => {
    const log = await make();
    await record(log, 3, key);
    const [one, two] = [await TransparencyLog.open(log), await TransparencyLog.open(log)];
    assert.equal((await one.append(actOf(3, { time: NOW + 9000 }))).index, 3);
    const late = await two.append(actOf(4));
    // Its clock is behind that of the other writer: what it said stands beside.
    assert.deepEqual([late.index, late.time, late.clock], [4, NOW + 9000, NOW + 4000]);
    await two.writeCheckpoint(key.sign);
    assert.equal((await readCheckpoint(log))?.file.checkpoint.size, 5);
    // The other one's is over nothing that the newer one is not over.
    await one.writeCheckpoint(key.sign);
    assert.equal((await audit(log)).checkpoint.size, 5);
    assert.equal((await one.append(actOf(5))).index, 5);
    await one.writeCheckpoint(key.sign);
    assert.equal((await two.append(actOf(6))).index, 6);
    await two.writeCheckpoint(key.sign);
    assert.equal((await audit(log)).size, 7);
  });

  it('the head is moved by who is first; the other one signs again, over all', async () => {
    const log = await make();
    await record(log, 2, key);
    const signed: number[] = [];
    const two = await TransparencyLog.open(log);
    await two.append(actOf(2));
    await two.append(actOf(3));
    let slow = true;
    await two.writeCheckpoint(async (bytes) => {
      signed.push(Number(/^size (\d+)$/m.exec(Buffer.from(bytes).toString())?.[1]));
      if (slow) {
        slow = false;
        // While this one is being signed: entry 2 alone, by somebody who had opened the log before entry 3 was there.
        const head = await readCheckpoint(log);
        const { root } = (await logOfSize(log, 3)) ?? assert.fail();
        const text = `bootseal-checkpoint 1\nlog ${head?.file.checkpoint.log}\nsize 3\nroot ${root}\ntime 2026-11-01T00:00:02Z\n`;
        const other = Buffer.from(text);
        await log.records.put(HEAD, encodeCheckpointFile(other, await key.sign(other)));
      }
      return key.sign(bytes);
    });
    assert.deepEqual(signed, [4, 4]);
    assert.equal((await audit(log)).checkpoint.size, 4);
  });

  it('the one whose entries somebody else has signed meanwhile is done', async () => {
    const log = await make();
    await record(log, 2, key);
    const one = await TransparencyLog.open(log);
    await one.append(actOf(2));
    let times = 0;
    await one.writeCheckpoint(async (bytes) => {
      times += 1;
      await record(log, 1, key, {}, 3);
      return key.sign(bytes);
    });
    assert.equal(times, 1);
    assert.equal((await audit(log)).checkpoint.size, 4);
  });

  it('a head that went back is no race: whoever saw the newer one refuses', async () => {
    const log = await make();
    await record(log, 2, key);
    const old = await readCheckpoint(log);
    await record(log, 2, key, {}, 2);
    const one = await TransparencyLog.open(log);
    await one.append(actOf(4));
    await assert.rejects(
      one.writeCheckpoint(async (bytes) => {
        await log.records.put(HEAD, old?.bytes ?? Buffer.alloc(0));
        return key.sign(bytes);
      }),
      refused('drifted', /went back from 4 entries to 2/),
    );
    const two = await TransparencyLog.open(log);
    await two.writeCheckpoint(key.sign);
    await log.records.put(HEAD, old?.bytes ?? Buffer.alloc(0));
    await two.append(actOf(5));
    await assert.rejects(two.writeCheckpoint(key.sign), refused('drifted', /went back from 5 entries to 2/));
  });
});

async function logOfSize(log: LogStore, size: number): Promise<{ root: string } | undefined> {
  const [root] = await log.rangeHashes([{ from: 0, to: size }]);
  return root && { root: Buffer.from(root).toString('hex') };
}

/** What must hold at every moment, whoever dies then. */
class Invariants {
  readonly #base: MemoryBackend;
  #entries = 0;
  #nodes = 0;
  #head = 0;

  constructor(base: MemoryBackend) {
    this.#base = base;
  }

  async demand(): Promise<void> {
    // One step writes at most one object.
    if (await this.#base.get(entryKey(this.#entries))) this.#entries += 1;
    if (await this.#base.get(nodesKey(this.#nodes))) this.#nodes += 1;
    assert.ok(!(await this.#base.get(entryKey(this.#entries))), 'entries come one after the other');
    assert.ok(
      this.#nodes === this.#entries || this.#nodes === this.#entries - 1,
      `${this.#entries} entries, and what follows from ${this.#nodes}`,
    );
    const head = (await readCheckpoint(over(this.#base)))?.file.checkpoint;
    if (!head) return assert.equal(this.#head, 0, 'a head is never taken away');
    assert.ok(head.size >= this.#head, 'a head does not go back');
    assert.ok(head.size <= this.#nodes, 'a head does not lead');
    if (head.size > this.#head) assert.equal((await logOfSize(over(this.#base), head.size))?.root, head.root);
    this.#head = head.size;
  }
}

describe('three writers interleaved at every await', () => {
  const SEEDS = process.env.BOOTSEAL_LONG_TESTS ? 600 : 60;
  it(`all entries of all are there, once, in the order of each (${SEEDS} orders)`, async () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const base = new MemoryBackend();
      const turns = new Turns(seed);
      const invariants = new Invariants(base);
      for (const writer of [0, 1, 2]) {
        const log = over(turns.records(base, {}));
        // One has no key; one opens the log anew for each, one has several under one checkpoint.
        turns.act(async () => {
          if (writer === 0) await recordActs(log, said(0, 4), scribble);
          else
            for (const act of said(writer, 3)) await recordAct(log, act, writer === 1 ? scribble : undefined);
        });
      }
      await turns.run(() => invariants.demand());
      const log = over(base);
      await base.remove(HEAD);
      await record(log, 1, key, { origin: 'the last' }, 9);
      assert.equal((await audit(log)).size, 11, `seed ${seed}`);
      const all = await origins(log);
      assert.deepEqual(
        all.toSorted(),
        [...said(0, 4), ...said(1, 3), ...said(2, 3), actOf(9, { origin: 'the last' })]
          .map(({ origin }) => origin)
          .toSorted(),
      );
      for (const writer of [0, 1, 2]) {
        const own = all.filter((origin) => origin.startsWith(`writer ${writer}`));
        assert.deepEqual(own, own.toSorted(), `seed ${seed}`);
      }
    }
  });

  it(`and any of them may die at any write (${SEEDS} orders)`, async () => {
    let deaths = 0;
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const base = new MemoryBackend();
      const turns = new Turns(seed);
      const invariants = new Invariants(base);
      const promised: string[] = [];
      for (const writer of [0, 1, 2, 3]) {
        const owner = {};
        const log = over(
          turns.records(base, owner, () => {
            // Three of them are mortal.
            if (writer === 3 || turns.choose(12) > 0) return;
            turns.kill(owner);
            deaths += 1;
          }),
        );
        turns.act(async () => {
          for (const act of said(writer, 3)) {
            const { origin = '' } = await recordAct(log, act, scribble);
            promised.push(origin);
          }
        });
      }
      await turns.run(() => invariants.demand());
      const log = over(base);
      await base.remove(HEAD);
      await record(log, 1, key, {}, 9);
      await audit(log);
      const all = await origins(log);
      assert.equal(new Set(all).size, all.length, `seed ${seed}: each once`);
      for (const one of promised) assert.ok(all.includes(one), `seed ${seed}: ${one}`);
    }
    assert.ok(deaths > SEEDS);
  });
});

it('a writer that dies at any of its steps leaves a log that the next one goes on with', async () => {
  for (const before of [0, 1, 2, 3, 4, 7, 8]) {
    for (let step = 0; ; step += 1) {
      const base = new MemoryBackend();
      if (before > 0) await record(over(base), before, key);
      let steps = 0;
      let died = false;
      const log = over(
        watched(base, () => {
          if (died || steps === step) {
            died = true;
            throw new Died();
          }
          steps += 1;
        }),
      );
      const done = await recordActs(log, [actOf(before), actOf(before + 1)], key.sign).then(
        () => true,
        (error: unknown) => {
          if (error instanceof Died) return false;
          throw error;
        },
      );
      const there = await over(base).size();
      assert.ok(there >= before && there <= before + 2);
      // Readers are not stopped by what it left.
      if (there > 0) await readLogEntries(over(base), () => {});
      const { signed, count } = await readWaiting(over(base));
      assert.deepEqual([signed + count, signed], [there, done ? there : before]);
      if (before > 0) await audit(over(base), true);
      await record(over(base), 1, key, {}, before + 2);
      assert.equal((await audit(over(base))).size, there + 1, `${before} entries, step ${step}`);
      if (done) break;
    }
  }
});

describe('somebody else writes into the bucket', async () => {
  const good = await make();
  await record(good, 9, key);
  await record(good, 8, undefined, {}, 9);
  const entries = await texts(good);

  const adds = async (log: LogStore, code: 'drifted' | 'malformed', message: RegExp) => {
    const before = await readCheckpoint(log);
    const keys = async () => [
      ...(await log.records.list('log/entries')),
      ...(await log.records.list('log/nodes')),
    ];
    const there = await keys();
    await assert.rejects(record(log, 1, key, {}, 17), refused(code, message));
    assert.deepEqual((await readCheckpoint(log))?.bytes, before?.bytes);
    return { added: (await keys()).filter((name) => !there.includes(name)) };
  };

  it('an entry that waits is gone, at the end or before it: its place is not given away', async () => {
    for (const index of [16, 15, 12, 10, 9]) {
      const log = await copy(good);
      await log.records.remove(entryKey(index));
      const { added } = await adds(log, 'drifted', /taken away/);
      assert.ok(!added.includes(String(index).padStart(15, '0')), `entry ${index}`);
      await assert.rejects(audit(log, true), refused('drifted', /Entry \d+ of the log was taken away/));
      await assert.rejects(readWaiting(log), refused('drifted', /taken away/));
    }
  });

  it('an entry that waits was changed, or swapped with another: nobody signs that', async () => {
    const changed = entries.map((text, at) => (at === 12 ? text.replace('counter 13', 'counter 99') : text));
    const swapped = entries.toSpliced(11, 2, ...entries.slice(11, 13).reverse());
    for (const [left, message] of [
      [changed, /Entry 12 of the log is not the one/],
      [swapped, /Entry 12 stands where entry 11/],
    ] as const) {
      const log = await copy(good);
      await rewrite(log, left);
      await adds(log, 'drifted', message);
      await assert.rejects(audit(log, true), refused('drifted', message));
    }
  });

  it('an entry without a form is where the next one belongs', async () => {
    const log = await copy(good);
    await log.records.put(entryKey(17), Buffer.from('rubbish\n'));
    await adds(log, 'malformed', /Entry 17 of the log is malformed/);
    await log.records.put(entryKey(17), Buffer.alloc(100_000, 'x'));
    await adds(log, 'malformed', /Entry 17 of the log is longer than any entry/);
  });

  it('what was recorded of an entry is gone, longer, or another', async () => {
    for (const [index, hashes] of [
      [3, undefined],
      [7, Buffer.alloc(32)],
      [12, Buffer.alloc(32)],
      [8, Buffer.alloc(32)],
      [16, Buffer.alloc(33)],
      [11, Buffer.alloc(0)],
    ] as const) {
      const log = await copy(good);
      if (hashes) await log.records.put(nodesKey(index), hashes);
      else await log.records.remove(nodesKey(index));
      await assert.rejects(audit(log, true), refused('drifted', new RegExp(`[Ee]ntry ${index} of the log`)));
      // Of what a checkpoint is over, a writer reads what it needs; all else it has read before it signs.
      if (index >= 7) await adds(log, 'drifted', /./);
    }
  });

  it('a whole log that follows from other entries waits behind no head of ours', async () => {
    const log = await copy(good);
    await rewrite(
      log,
      entries.map((text, at) => (at === 4 ? text.replace('counter 5', 'counter 6') : text)),
    );
    await rederive(log);
    await adds(log, 'drifted', /is not what its checkpoint of 9 entries says/);
  });

  it('the head leads: nobody reads, shows or adds', async () => {
    const log = await copy(good);
    await rewrite(log, entries.slice(0, 8));
    await forget(log, 8);
    const leads = refused('drifted', /is over 9 entries, and entry 8 is not there/);
    await adds(log, 'drifted', /is over 9 entries/);
    await assert.rejects(readWaiting(log), leads);
    await assert.rejects(log.size(), leads);
    await assert.rejects(readLogPage(log, 5), leads);
    await assert.rejects(
      readLogEntries(log, () => {}),
      leads,
    );
  });
});

describe('a long log', async () => {
  const SIZE = 20_000;
  /** As many as the size has binary digits. */
  const DIGITS = 15;

  it('its end is found from the head upward, without a list', async () => {
    for (const size of [0, 1, 2, 3, 1000, 99_999, 100_000, 2 ** 40]) {
      for (const signed of [0, 1, 2, 700, 99_999, 100_000]) {
        if (signed > size) continue;
        let asked = 0;
        const records = watched(
          Object.assign(new MemoryBackend(), {
            facts: async (of: string) => (of < entryKey(size) ? { size: 1, modified: 0 } : undefined),
          }),
          (what) => {
            assert.match(what, /^facts /);
            asked += 1;
          },
        );
        assert.equal(await findEnd({ records, where: 'x' }, signed), size);
        const waiting = Math.max(1, size - signed);
        assert.ok(asked <= 2 + 2 * Math.ceil(Math.log2(waiting + 1)), `${asked} for ${waiting}`);
        if (signed === size) assert.ok(asked <= 2);
      }
    }
  });

  it('reading the head and appending ask for as many objects as the size has digits', async () => {
    const base = new MemoryBackend();
    const log = over(base);
    const acts = Array.from({ length: SIZE }, (_, index) => actOf(index % 1000));
    await recordActs(log, acts, key.sign);
    const asked: string[] = [];
    const counted = over(watched(base, (what) => asked.push(what)));
    const count = async (most: number, work: () => Promise<unknown>) => {
      asked.length = 0;
      await work();
      assert.ok(asked.length <= most, `${asked.length}: ${asked.join(', ')}`);
      assert.deepEqual(
        asked.filter((what) => what.startsWith('list')),
        [],
      );
    };
    await count(DIGITS + 12, () => record(counted, 1, key, {}, 1));
    await count(6, () => readWaiting(counted));
    await count(DIGITS + 12, () => record(counted, 1, undefined, {}, 2));
    await record(log, 300, undefined, {}, 3);
    // Without a key nothing is read but what the next entry needs.
    await count(3 * DIGITS + 30, () => record(counted, 1, undefined, {}, 4));
    await count(40, () => readLogPage(counted, 10));
    assert.equal(await log.size(), SIZE + 303);
    await record(log, 1, key, {}, 5);
    assert.equal((await readCheckpoint(log))?.file.checkpoint.size, SIZE + 304);
  });
});
