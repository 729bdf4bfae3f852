import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { channelHistory, moveChannel, nextCounter, readChannel } from '../../src/store/channels.ts';
import { writeRestored } from '../../src/store/restored.ts';
import { asNobody } from '../files/nobody.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';
import { CHANNEL, snapshotOf } from './states.ts';

const folder = await temporaryFolder();
let states = 0;
const newState = () => join(folder, `state-${++states}`);

/** A state whose channel was moved so often. */
async function moved(count: number): Promise<string> {
  const state = newState();
  for (let counter = 1; counter <= count; counter += 1) await moveChannel(state, snapshotOf(counter));
  return state;
}

const at = (state: string, ...names: string[]) => join(state, 'channels', CHANNEL, ...names);
const counters = async (state: string) =>
  (await channelHistory(state, CHANNEL)).map(({ snapshot }) => snapshot.counter);

describe('a channel', () => {
  it('that there is not has no snapshot, no history, and begins with 1', async () => {
    const state = newState();
    assert.equal(await readChannel(state, CHANNEL), undefined);
    assert.deepEqual(await channelHistory(state, CHANNEL), []);
    assert.equal(await nextCounter(state, CHANNEL), 1);
  });

  it('is read with its own seal', async () => {
    const state = await moved(3);
    const current = await readChannel(state, CHANNEL);
    assert.deepEqual(current?.bytes, snapshotOf(3).bytes);
    assert.equal(Buffer.from(current?.seal ?? []).toString(), 'seal of stable 3');
    assert.deepEqual(await counters(state), [1, 2, 3]);
    assert.equal(await nextCounter(state, CHANNEL), 4);
  });

  it('is read as one while it moves: a snapshot never meets the seal of another', async () => {
    const state = await moved(1);
    let moving = true;
    const mover = (async () => {
      for (let counter = 2; counter <= 60; counter += 1) await moveChannel(state, snapshotOf(counter));
      moving = false;
    })();
    const seen = new Set<number>();
    while (moving) {
      const current = await readChannel(state, CHANNEL);
      assert.equal(
        Buffer.from(current?.seal ?? []).toString(),
        `seal of stable ${current?.snapshot.counter}`,
      );
      seen.add(current?.snapshot.counter ?? 0);
    }
    await mover;
    assert.ok(seen.size > 2, 'it was read between moves');
  });
});

describe('a channel that has lost something is not a new one', () => {
  const cases: [string, (state: string) => Promise<unknown>, (error: unknown) => boolean][] = [
    ['no current', (state) => rm(at(state, 'current')), refused('drifted', /no channels\/stable\/current/)],
    [
      'current is a folder',
      async (state) => {
        await rm(at(state, 'current'));
        await mkdir(at(state, 'current'));
      },
      (error) => error instanceof IoError,
    ],
    [
      'current says nothing',
      (state) => writeFile(at(state, 'current'), ''),
      refused('malformed', /no counter/),
    ],
    [
      'current names none',
      (state) => writeFile(at(state, 'current'), '7\n'),
      refused('drifted', /is missing/),
    ],
    ['no snapshot', (state) => rm(at(state, '2/snapshot')), refused('drifted', /2\/snapshot is missing/)],
    ['no seal', (state) => rm(at(state, '2/snapshot.cms.sig')), refused('drifted', /sig is missing/)],
    [
      'snapshot is a folder',
      async (state) => {
        await rename(at(state, '2/snapshot'), at(state, 'kept'));
        await mkdir(at(state, '2/snapshot'));
      },
      (error) => error instanceof IoError,
    ],
    [
      'another snapshot in its place',
      async (state) => {
        await rm(at(state, '2/snapshot'));
        await writeFile(at(state, '2/snapshot'), snapshotOf(1).bytes);
      },
      refused('drifted', /is snapshot 1 of stable: it was moved/),
    ],
  ];
  for (const [name, damage, fits] of cases) {
    it(name, async () => {
      const state = await moved(2);
      await damage(state);
      const before = await readdir(at(state), { recursive: true });
      await assert.rejects(readChannel(state, CHANNEL), fits);
      assert.deepEqual(await readdir(at(state), { recursive: true }), before);
    });
  }

  it('and what lost its pointer takes no snapshot', async () => {
    const state = await moved(2);
    await rm(at(state, 'current'));
    await assert.rejects(moveChannel(state, snapshotOf(3)), refused('drifted'));
    assert.deepEqual(await readdir(at(state)), ['1', '2']);
  });

  it('a hole in its history is said', async () => {
    const state = await moved(3);
    await rm(at(state, '1/snapshot'));
    await assert.rejects(channelHistory(state, CHANNEL), refused('drifted', /1\/snapshot is missing/));
  });

  it('one that may not be read is an I/O fault, by whichever way it is asked', async () => {
    const state = await moved(2);
    for (const path of [at(state, '2'), at(state, '2/snapshot'), at(state, 'current')]) {
      await chmod(path, 0);
      await asNobody(folder, async () => {
        await assert.rejects(readChannel(state, CHANNEL), IoError);
        await assert.rejects(
          path.endsWith('current') ? nextCounter(state, CHANNEL) : channelHistory(state, CHANNEL),
          IoError,
        );
      });
      await chmod(path, 0o755);
    }
  });
});

describe('history is only appended to', () => {
  it('a counter that was used is not used again', async () => {
    const state = await moved(2);
    for (const counter of [1, 2]) {
      await assert.rejects(
        moveChannel(state, snapshotOf(counter, 'arch/2026.12.01')),
        refused('rolled-back', /is at snapshot 2/),
      );
    }
    assert.deepEqual(await readFile(at(state, '2/snapshot')), Buffer.from(snapshotOf(2).bytes));
  });

  it('what a crash left beyond current stays, is passed over, and was never current', async () => {
    const state = await moved(2);
    await mkdir(at(state, '3'));
    await writeFile(at(state, '3/snapshot'), snapshotOf(3, 'arch/2026.12.24').bytes);
    assert.equal((await readChannel(state, CHANNEL))?.snapshot.counter, 2);
    assert.deepEqual(await counters(state), [1, 2]);
    assert.equal(await nextCounter(state, CHANNEL), 4);
    await assert.rejects(moveChannel(state, snapshotOf(3)), refused('drifted', /is not replaced/));
    await moveChannel(state, snapshotOf(4));
    assert.deepEqual(await counters(state), [1, 2, 4]);
    assert.deepEqual(
      await readFile(at(state, '3/snapshot')),
      Buffer.from(snapshotOf(3, 'arch/2026.12.24').bytes),
    );
    await moveChannel(state, snapshotOf(5));
    assert.deepEqual(await counters(state), [1, 2, 4, 5]);
  });

  it('the same move is made to its end after a crash', async () => {
    const state = await moved(1);
    await mkdir(at(state, '2'));
    await writeFile(at(state, '2/snapshot'), snapshotOf(2).bytes);
    await moveChannel(state, snapshotOf(2));
    assert.deepEqual(await counters(state), [1, 2]);
  });

  it('a first publish that was cut short leaves a channel that can begin', async () => {
    const state = newState();
    await mkdir(at(state, '1'), { recursive: true });
    await writeFile(at(state, 'current'), '0\n');
    await writeFile(at(state, '1/snapshot'), snapshotOf(1).bytes);
    assert.equal(await readChannel(state, CHANNEL), undefined);
    assert.deepEqual(await counters(state), []);
    const counter = await nextCounter(state, CHANNEL);
    await moveChannel(state, snapshotOf(counter));
    assert.deepEqual(await counters(state), [2]);
  });

  it('a pointer that was put back is found', async () => {
    const state = await moved(4);
    await writeFile(at(state, 'current'), '1\n');
    const counter = await nextCounter(state, CHANNEL);
    assert.equal(counter, 5);
    await assert.rejects(moveChannel(state, snapshotOf(counter)), refused('rolled-back', /put it back/));
  });

  it('a state from a backup goes on above what others saw, in channels too that it never knew', async () => {
    const state = await moved(2);
    await writeRestored(state, 41, NOW);
    assert.equal(await nextCounter(state, CHANNEL), 42);
    assert.equal(await nextCounter(state, 'testing'), 42);
    await moveChannel(state, snapshotOf(42));
    assert.deepEqual(await counters(state), [1, 2, 42]);
    await writeRestored(state, 7, NOW);
    assert.equal(await nextCounter(state, 'testing'), 42);
  });
});
