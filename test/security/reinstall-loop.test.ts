import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StoreBackend } from '../../src/store/backend.ts';
import { CALM, type Chaos, runWorld, type Told, type WorldOptions } from '../fixtures/once-world.ts';
import { MemoryBackend } from '../store/memory-backend.ts';

/**
 * A machine that wipes its disk, restarts and wipes it again: by power cuts, retries, messages that are lost or come twice,
 * servers that die between two writes, an operator who arms anew meanwhile, a second machine of the same address.
 */

const SEED = Number(process.env.BOOTSEAL_SEED ?? 1);
const EACH = process.env.BOOTSEAL_LONG_TESTS === undefined ? 250 : 5000;
const WILD: Chaos = { lost: 0.08, twice: 0.1, cut: 0.01, death: 0.02, operator: 0.02 };

function most({ starts }: Told): number {
  return Math.max(0, ...starts.values());
}

async function search(
  options: Omit<WorldOptions, 'seed'>,
  count: number,
): Promise<{ worst: number; began: number }> {
  let worst = 0;
  let began = 0;
  for (let index = 0; index < count; index += 1) {
    const seed = SEED * 1_000_000 + index;
    const told = await runWorld({ ...options, seed }).catch((error: unknown) => {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
    });
    worst = Math.max(worst, most(told));
    began += [...told.starts.values()].filter((times) => times > 0).length;
    assert.ok(worst <= 1 || options.base, `seed ${seed}: an arming was started ${most(told)} times`);
  }
  return { worst, began };
}

describe('a reinstall loop cannot be provoked', () => {
  for (const proof of ['report', 'files'] as const)
    for (const machines of [1, 2])
      it(`in ${EACH} interleavings, consumed by ${proof}, ${machines} of that address`, async () => {
        const { began } = await search({ proof, machines, chaos: WILD }, EACH);
        // It would prove nothing of machines that never get that far.
        assert.ok(began > EACH / 4, `${began} armings were started`);
      });

  for (const proof of ['report', 'files'] as const)
    it(`and where nothing breaks each arming is started exactly once, consumed by ${proof}`, async () => {
      for (let seed = 0; seed < 50; seed += 1) {
        const { starts, armings } = await runWorld({ seed, proof, machines: 1, chaos: CALM });
        assert.deepEqual([...starts], [[armings[0], 1]]);
      }
    });

  it('and the same schedules find a store that writes where something is already', async () => {
    const base = (gate: () => Promise<void>): StoreBackend => {
      const memory = new MemoryBackend();
      return {
        get: (key) => memory.get(key),
        list: (prefix) => memory.list(prefix),
        put: (key, bytes) => memory.put(key, bytes),
        putFile: (key, file) => memory.putFile(key, file),
        open: (key) => memory.open(key),
        facts: (key) => memory.facts(key),
        copy: (from, to) => memory.copy(from, to),
        remove: (key) => memory.remove(key),
        compareAndSwap: (key, before, after) => memory.compareAndSwap(key, before, after),
        async putIfAbsent(key, bytes) {
          if (await memory.get(key)) return false;
          await gate();
          await memory.put(key, bytes);
          return true;
        },
      };
    };
    const { worst } = await search({ proof: 'report', machines: 2, chaos: WILD, base }, EACH);
    assert.ok(worst > 1, 'such a store starts an arming twice, and nobody saw it');
  });
});
