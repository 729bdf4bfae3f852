import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Refusal, RefusalCode } from '../../src/errors/refusal.ts';
import { encodeCheckpoint, encodeCheckpointFile } from '../../src/formats/records/checkpoint.ts';
import { recordAct, recordActs, TransparencyLog } from '../../src/store/log.ts';
import { auditLog } from '../../src/store/log-audit.ts';
import { logKey, readCheckpoint } from '../../src/store/log-files.ts';
import { readLogPage } from '../../src/store/log-page.ts';
import { makeLogProof, readLogEntries } from '../../src/store/log-proof.ts';
import { logState } from '../../src/store/log-restored.ts';
import type { LogStore } from '../../src/store/log-store.ts';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { verifyLogProof } from '../../src/trust/log-proof-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';
import { actOf, makeLogKey, record } from './logs.ts';

/** Logs of one kind, and what somebody can do to them who writes where they lie. */
export interface LogMaker {
  /** An empty one. */
  make(): Promise<LogStore>;
  copy(log: LogStore): Promise<LogStore>;
  /** Puts entries in the place of those that are there, and leaves what was recorded of those. */
  rewrite(log: LogStore, entries: readonly string[]): Promise<void>;
  /** Removes what was recorded of the entries from one on. */
  forget(log: LogStore, from: number): Promise<void>;
  /** Records what follows from the entries that are there, and nothing else. */
  rederive(log: LogStore): Promise<void>;
}

const HEAD = logKey('checkpoint');
const policy = defaultPolicy(NOW);
const seals = new Map([['boot.ipxe', Buffer.from('#!ipxe\n')]]);

/** The entries, each in its canonical form. */
export async function texts(log: LogStore): Promise<string[]> {
  const found: string[] = [];
  await log.scan(0, ({ bytes }) => void found.push(Buffer.from(bytes).toString('latin1')));
  return found;
}

/**
 * What every maker of a `LogStore` does.
 *
 * @param tampered false: not what it does in the hands of somebody else, where another test has the same code do so.
 */
export function logContract(name: string, maker: LogMaker, tampered = true): void {
  describe(`${name} as a LogStore`, async () => {
    const folder = await temporaryFolder();
    const key = await makeLogKey(join(folder, 'key'));
    const stranger = await makeLogKey(join(folder, 'stranger'));
    const audit = (log: LogStore, since?: string, allowWaiting?: boolean) =>
      auditLog(log, key.certificates, policy, since, allowWaiting);

    it('has nothing at first, and says so', async () => {
      const log = await maker.make();
      assert.deepEqual([await log.begun(), await log.size()], [false, 0]);
      assert.deepEqual(await readWaiting(log), { signed: 0, count: 0 });
      assert.deepEqual(await readLogPage(log, 10), { entries: [], size: 0, signed: 0 });
      const none = refused('absent', /There is no log in/);
      await assert.rejects(audit(log), none);
      await assert.rejects(
        readLogEntries(log, () => {}),
        none,
      );
      await assert.rejects(
        makeLogProof(log, 'entry', () => true),
        none,
      );
    });

    it('keeps every act in its order, under a checkpoint over all of them', async () => {
      const log = await maker.make();
      const entries = [
        ...(await record(log, 5, key, { seals })),
        ...(await recordActs(log, [actOf(5), actOf(6), actOf(7)], key.sign)),
      ];
      const { size, waiting, checkpoint, torn } = await audit(log);
      assert.deepEqual([size, waiting, checkpoint.time, torn], [8, 0, NOW + 7000, 0]);
      const found: unknown[] = [];
      await readLogEntries(log, ({ entry, index }) => void found.push([index, entry.release]));
      assert.deepEqual(
        found,
        entries.map(({ index, release }) => [index, release]),
      );
      assert.deepEqual(
        found,
        [0, 1, 2, 3, 4, 5, 6, 7].map((index) => [index, `arch/2026.11.${index}`]),
      );
    });

    it('tells of what waits for a signature, and signs all of it', async () => {
      const log = await maker.make();
      await record(log, 3);
      await assert.rejects(audit(log), refused('no-verdict', /3 entries and no checkpoint yet/));
      const waiting = async () => {
        const indexes: number[] = [];
        const { signed } = await readWaiting(log, ({ index }) => void indexes.push(index));
        return [signed, ...indexes];
      };
      assert.deepEqual(await waiting(), [0, 0, 1, 2]);
      await record(log, 1, key, {}, 3);
      assert.deepEqual(await waiting(), [4]);
      await record(log, 2, undefined, {}, 4);
      assert.deepEqual(await waiting(), [4, 4, 5]);
      await assert.rejects(audit(log), refused('no-verdict', /Entry 4 and those after it/));
      assert.equal((await audit(log, undefined, true)).waiting, 2);
      const open = await TransparencyLog.open(log);
      await open.writeCheckpoint(key.sign);
      await open.close();
      assert.deepEqual(await waiting(), [6]);
      assert.equal((await audit(log)).size, 6);
    });

    it('does not go back in time with a clock that was set back', async () => {
      const log = await maker.make();
      await recordAct(log, actOf(0, { time: NOW + 500 }), key.sign);
      await recordAct(log, actOf(1, { time: NOW - 3_600_000 }), key.sign);
      await recordAct(log, actOf(2, { time: NOW + 2000 }), key.sign);
      const found: unknown[] = [];
      await readLogEntries(log, ({ entry: { time, clock } }) => void found.push([time, clock]));
      assert.deepEqual(found, [
        [NOW, undefined],
        [NOW, NOW - 3_600_000],
        [NOW + 2000, undefined],
      ]);
      await audit(log);
    });

    it('what an act says wrongly is refused, and nothing is added', async () => {
      const log = await maker.make();
      await record(log, 1, key);
      const wrong = actOf(1, { release: 'no release' });
      await assert.rejects(recordAct(log, wrong, key.sign), refused('malformed'));
      assert.equal((await audit(log)).size, 1);
    });

    it('shows a page from its end, and those before it', async () => {
      const log = await maker.make();
      await recordActs(
        log,
        Array.from({ length: 40 }, (_, index) => actOf(index)),
      );
      await record(log, 1, key, {}, 40);
      await record(log, 4, undefined, {}, 41);
      const page = await readLogPage(log, 30);
      assert.deepEqual([page.size, page.signed], [45, 41]);
      assert.deepEqual(
        page.entries.map(({ index }) => index),
        Array.from({ length: 30 }, (_, at) => 44 - at),
      );
      const { entries } = await readLogPage(log, 30, 15);
      assert.deepEqual(
        entries.map(({ index }) => index),
        Array.from({ length: 15 }, (_, at) => 14 - at),
      );
      assert.deepEqual((await readLogPage(log, 30, 0)).entries, []);
    });

    it('proves each of its entries, under every size', async () => {
      const log = await maker.make();
      for (let size = 1; size <= 7; size += 1) {
        await record(log, 1, key, { seals }, size - 1);
        for (let index = 0; index < size; index += 1) {
          const proof = await makeLogProof(log, 'entry', (entry) => entry.index === index);
          const proven = await verifyLogProof(proof, key.certificates, policy);
          assert.deepEqual([proven.entry.index, proven.checkpoint.size], [index, size]);
        }
        const { root } = await logState(log, size);
        assert.equal(root, (await audit(log)).checkpoint.root);
      }
      await record(log, 1, undefined, {}, 7);
      await assert.rejects(
        makeLogProof(log, 'entry', ({ index }) => index === 7),
        refused('absent', /Entry 7 of the log is under no checkpoint yet/),
      );
    });

    it('each has a name of its own, so one key may sign several', async () => {
      const [one, two] = [await maker.make(), await maker.make()];
      await record(one, 2, key);
      await record(two, 2, key);
      await two.records.put(HEAD, (await readCheckpoint(one))?.bytes ?? Buffer.alloc(0));
      await assert.rejects(audit(two), refused('mixed-releases', /Its checkpoint is of log/));
      await assert.rejects(record(two, 1, key, {}, 2), refused('drifted', /is not what its checkpoint/));
    });

    describe('after a crash', () => {
      it('between an entry and what follows from it, the next writer completes it', async () => {
        const log = await maker.make();
        for (let size = 1; size <= 9; size += 1) {
          await record(log, 1, size % 3 === 0 ? key : undefined, {}, size - 1);
          await maker.forget(log, size - 1);
        }
        await record(log, 1, key, {}, 9);
        assert.equal((await audit(log)).size, 10);
      });

      it('between an entry and the checkpoint, the next checkpoint is over it, too', async () => {
        const log = await maker.make();
        await record(log, 4, key);
        await record(log, 1, undefined, {}, 4);
        await record(log, 1, key, {}, 5);
        assert.deepEqual([(await audit(log)).checkpoint.size, (await readWaiting(log)).signed], [6, 6]);
      });

      it('a signer that dies leaves a log that goes on', async () => {
        const log = await maker.make();
        await record(log, 2, key);
        const died = new Error('killed');
        await assert.rejects(
          recordAct(log, actOf(2), () => Promise.reject(died)),
          (error) => error === died,
        );
        assert.equal((await readWaiting(log)).count, 1);
        await record(log, 1, key, {}, 3);
        assert.equal((await audit(log)).size, 4);
      });
    });

    if (!tampered) return;
    describe('in the hands of somebody else', async () => {
      /** Nine entries; what an auditor kept when there were five. */
      const good = await maker.make();
      await record(good, 5, key, { seals });
      const kept = join(folder, 'kept');
      const keptHead = (await readCheckpoint(good))?.bytes ?? Buffer.alloc(0);
      await writeFile(kept, keptHead);
      await record(good, 4, key, { seals }, 5);
      const newestHead = (await readCheckpoint(good))?.bytes ?? Buffer.alloc(0);
      const entries = await texts(good);
      const changed = (at: number) =>
        entries.map((text, index) =>
          index === at ? text.replace(/^release .*$/m, 'release arch/6666.66.6') : text,
        );
      const numbered = (texts: readonly string[]) =>
        texts.map((text, index) => text.replace(/^index .*$/m, `index ${index}`));
      const swapped = entries.toSpliced(3, 2, ...entries.slice(3, 5).reverse());

      interface Tampering {
        readonly what: string;
        readonly left: readonly string[];
        /** What was recorded is made to fit: of all of them, or gone from one on. */
        readonly records?: 'rederive' | { readonly forget: number };
        readonly code: RefusalCode;
        readonly index: number;
        readonly message?: RegExp;
        readonly since?: boolean;
        /** A writer finds it, too, before it adds anything. */
        readonly stops?: boolean;
      }

      const TAMPERINGS: readonly Tampering[] = [
        { what: 'an entry that was changed', left: changed(3), code: 'drifted', index: 3 },
        { what: 'the last entry changed', left: changed(8), code: 'drifted', index: 8, stops: true },
        {
          what: 'two entries that were swapped',
          left: swapped,
          code: 'drifted',
          index: 3,
          message: /Entry 4 stands where entry 3/,
        },
        {
          what: 'two entries that were swapped and numbered anew',
          left: numbered(swapped),
          code: 'drifted',
          index: 3,
        },
        {
          what: 'an entry that was put into the middle',
          left: numbered(entries.toSpliced(3, 0, entries[2] ?? '')),
          code: 'drifted',
          index: 3,
        },
        {
          what: 'an entry that was put at the end',
          left: numbered([...entries, entries[8] ?? '']),
          code: 'no-verdict',
          index: 9,
          message: /Entry 9 and those after it wait for a signature/,
        },
        {
          what: 'an entry that is not canonical',
          left: entries.map((text, at) => (at === 3 ? text.replace('act ', 'act  ') : text)),
          code: 'malformed',
          index: 3,
          message: /^Entry 3 of the log is malformed/,
        },
        {
          what: 'entries taken from the end',
          left: entries.slice(0, 7),
          code: 'drifted',
          index: 7,
          message: /Entry 7 of the log was taken away/,
          stops: true,
        },
        {
          what: 'entries taken from the end, with what was recorded of them',
          left: entries.slice(0, 7),
          records: { forget: 7 },
          code: 'rolled-back',
          index: 7,
          message: /checkpoint is over 9 entries, and the log has 7/,
          stops: true,
        },
        {
          what: 'an entry that was changed, with everything that follows from it',
          left: changed(3),
          records: 'rederive',
          code: 'drifted',
          index: 0,
          message: /Among entries 0 to 8/,
          stops: true,
        },
        {
          what: 'the same, of which the kept checkpoint says that it is among the first five',
          left: changed(3),
          records: 'rederive',
          code: 'drifted',
          index: 0,
          since: true,
          message: /Among entries 0 to 4/,
        },
        {
          what: 'the same later, of which it says that it is among the others',
          left: changed(6),
          records: 'rederive',
          code: 'drifted',
          index: 5,
          since: true,
          message: /Among entries 5 to 8/,
        },
      ];

      for (const { what, left, code, index, message = /./, records, since, stops } of TAMPERINGS) {
        it(`${what}: an audit finds it${stops ? ', and a writer stops' : ''}`, async () => {
          const log = await maker.copy(good);
          await maker.rewrite(log, left);
          if (records === 'rederive') await maker.rederive(log);
          else if (records) await maker.forget(log, records.forget);
          await assert.rejects(audit(log, since ? kept : undefined), (error) => {
            refused(code, message)(error);
            assert.equal((error as Refusal).facts.index, index);
            return true;
          });
          if (!stops) return;
          for (const signer of [key, undefined])
            await assert.rejects(record(log, 1, signer, {}, 9), refused('drifted'));
          assert.deepEqual((await readCheckpoint(log))?.bytes, newestHead);
        });
      }

      it('the head leads: whoever reads refuses', async () => {
        const log = await maker.copy(good);
        await maker.rewrite(log, entries.slice(0, 7));
        await maker.forget(log, 7);
        await assert.rejects(readWaiting(log), refused('drifted'));
        await assert.rejects(
          readLogEntries(log, () => {}),
          refused('drifted', /is over 9 entries, and entry 7 is not there/),
        );
      });

      it('an older checkpoint was put back: signed entries look like waiting ones, except to who kept the newer', async () => {
        const log = await maker.copy(good);
        await log.records.put(HEAD, keptHead);
        await assert.rejects(audit(log), refused('no-verdict', /Entry 5 and those after it/));
        assert.equal((await readWaiting(log)).count, 4);
        // Nothing else was changed, so the next checkpoint is over all again, and continues both.
        await record(log, 1, key, {}, 9);
        const newest = join(folder, 'newest');
        await writeFile(newest, newestHead);
        for (const since of [kept, newest]) assert.equal((await audit(log, since)).size, 10);
      });

      it('an older checkpoint was put back, and what it does not cover changed: no checkpoint covers that up', async () => {
        const log = await maker.copy(good);
        await log.records.put(HEAD, keptHead);
        await maker.rewrite(log, changed(6));
        await record(log, 1, key, {}, 9).catch(refused('drifted'));
        await assert.rejects(
          audit(log, undefined, true),
          refused('drifted', /Entry 6 of the log is not the one/),
        );
      });

      it('the checkpoint is a stranger’s, or a lie', async () => {
        const { checkpoint } = await audit(good);
        const bytes = encodeCheckpoint(checkpoint);
        const theirs = await maker.copy(good);
        await theirs.records.put(HEAD, encodeCheckpointFile(bytes, await stranger.sign(bytes)));
        await assert.rejects(audit(theirs), refused('untrusted-signer'));
        const lying = await maker.copy(good);
        const lie = encodeCheckpoint({ ...checkpoint, root: 'f'.repeat(64) });
        await lying.records.put(HEAD, encodeCheckpointFile(lie, await key.sign(lie)));
        await assert.rejects(audit(lying), refused('drifted', /Among entries 0 to 8/));
        await assert.rejects(record(lying, 1, key, {}, 9), refused('drifted', /is not what its checkpoint/));
      });

      it('its name was taken away', async () => {
        const log = await maker.copy(good);
        await log.records.remove(logKey('name'));
        await assert.rejects(record(log, 1, key, {}, 9), refused('drifted', /has entries and no name/));
        await assert.rejects(audit(log), refused('absent', /There is no log/));
      });

      it('a list of seals is gone, or another', async () => {
        for (const left of [undefined, 'x']) {
          const log = await maker.copy(good);
          const [list = ''] = await log.records.list('log/seals');
          await log.records.remove(logKey('seals', list));
          if (left !== undefined) await log.records.put(logKey('seals', list), Buffer.from(left));
          await assert.rejects(audit(log), refused('drifted', /list of seals that entry 0/));
          // The first entry that something is wrong with is the one that is named.
          await maker.rewrite(log, changed(3));
          await assert.rejects(audit(log), refused('drifted', /list of seals that entry 0/));
        }
      });

      it('the whole log was set back: found with a kept checkpoint alone', async () => {
        const log = await maker.copy(good);
        await maker.rewrite(log, entries.slice(0, 5));
        await maker.forget(log, 5);
        await log.records.put(HEAD, keptHead);
        assert.equal((await audit(log)).size, 5);
        const newest = join(folder, 'newest-of-nine');
        await writeFile(newest, newestHead);
        await assert.rejects(
          audit(log, newest),
          refused('rolled-back', /once had 9 entries and now has 5: entry 5/),
        );
      });
    });
  });
}
