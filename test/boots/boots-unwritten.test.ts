import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Boots } from '../../src/boots/boots.ts';
import { MemoryLines } from '../../src/boots/memory-lines.ts';
import { Shares } from '../../src/serve/shares.ts';
import { SeenMachine } from '../fixtures/seen-boots.ts';

const SILENT = { info: () => {}, warn: () => {}, error: () => {} };
const RELEASE = 'arch/2026.11.01';

/** Boots whose lines are taken as long as `takes` says so; else their disk never answers. */
function slow() {
  const memory = new MemoryLines();
  let taken = 0;
  let takes = 1;
  const boots = new Boots({
    find: (_server, asked) =>
      asked === '/boot.ipxe'
        ? { stage: 'script', path: asked, begins: true }
        : { stage: 'kernel', path: asked, release: { release: RELEASE, needs: [], reports: true } },
    shares: new Shares(),
    clock: () => 1000,
    monotonic: () => 1000,
    log: SILENT,
    lines: {
      append: (line) => {
        taken += 1;
        return taken <= takes ? memory.append(line) : new Promise(() => {});
      },
      read: (place) => memory.read(place),
      collect: () => memory.collect(),
      close: () => memory.close(),
    },
  });
  return {
    boots,
    take: (count: number) => {
      takes = count;
    },
  };
}

it('what came of a boot counts before its line is written, and once', async () => {
  const { boots } = slow();
  const machine = new SeenMachine(boots, 1, RELEASE).dhcp().script();
  // Its first line is written, as of a boot that runs.
  while (boots.index.size === 0) await new Promise((resolve) => setImmediate(resolve));
  machine.kernel().refused('bad-signature', 'Nobody signed it.');
  const counts = boots.count({});
  assert.deepEqual([counts.total, counts.byOutcome.running, counts.byOutcome.refused], [1, 0, 1]);
  assert.deepEqual(
    counts.failures.map(({ code, count, machines }) => [code, count, machines]),
    [['bad-signature', 1, 1]],
  );
  assert.equal((await boots.find({ failed: true }, 10)).length, 1);
  assert.equal((await boots.find({ outcome: 'running' }, 10)).length, 0);
  assert.equal((await boots.find({}, 10)).length, 1);
  new SeenMachine(boots, 2, RELEASE).dhcp().script().kernel().refused('bad-signature', 'Nobody signed it.');
  assert.deepEqual(
    boots.count({}).failures.map(({ count, machines }) => [count, machines]),
    [[2, 2]],
  );
});
