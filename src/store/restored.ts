import { z } from 'zod';
import { recordsOf } from './folder-backend.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from './state-json.ts';

/**
 * `STATE/restored.json`: this state came out of a backup, and others have seen more of it than it knows. Every channel
 * goes on above that, those too that were made after the backup and that it has never heard of.
 */
const RESTORED = z.strictObject({
  'bootseal-restored': z.literal(1),
  time: z.string().refine(isStateTime),
  counter: z.int().min(1).max(1_000_000_000_000),
});

const KEY = 'restored.json';

/** The highest counter that others saw; undefined where the state was never restored. */
export async function readRestored(state: string): Promise<{ counter: number } | undefined> {
  const found = await readStateJson(recordsOf(state), KEY, RESTORED);
  return found && { counter: found.value.counter };
}

/** Never goes down. @param time milliseconds since 1970. */
export async function writeRestored(state: string, counter: number, time: number): Promise<void> {
  const before = await readRestored(state);
  await recordsOf(state).put(
    KEY,
    encodeStateJson(
      RESTORED.parse({
        'bootseal-restored': 1,
        time: stateTime(time),
        counter: Math.max(counter, before?.counter ?? 0),
      }),
    ),
  );
}
