import { z } from 'zod';
import { isStateTime, stateTime } from './state-json.ts';

/** `collect.json`: which objects nothing referred to, and since when that is known. */
export const MARKS_KEY = 'collect.json';

export const OBJECT_SHA256 = /^[0-9a-f]{64}$/;
export const MARKS = z.strictObject({
  'bootseal-collect': z.literal(1),
  /** Objects that nothing refers to, and since when that is known; by digest. */
  marked: z.record(z.string().regex(OBJECT_SHA256), z.string().refine(isStateTime)),
});

export interface UnusedObject {
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
  /** When it was marked; milliseconds since 1970. */
  readonly since: number;
}

export interface Collected {
  /** Found just now. */
  readonly marked: readonly UnusedObject[];
  /** Marked before, and not seven days ago. */
  readonly waiting: readonly UnusedObject[];
  /** Old enough, and open: a machine may run on it. Of a bucket nobody can tell. */
  readonly open: readonly UnusedObject[];
  /** Gone, or would be. */
  readonly deleted: readonly UnusedObject[];
}

/** What is marked after a run: all that was found and is still there. */
export function marksOf({ marked, waiting, open }: Collected): z.infer<typeof MARKS> {
  const left = [...marked, ...waiting, ...open];
  return MARKS.parse({
    'bootseal-collect': 1,
    marked: Object.fromEntries(left.map(({ sha256, since }) => [sha256, stateTime(since)])),
  });
}
