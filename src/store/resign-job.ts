import { z } from 'zod';
import { recordsOf } from './folder-backend.ts';
import { encodeStateJson, isStateTime, readStateJson } from './state-json.ts';

/**
 * `STATE/resign.json`: a batch that signs releases anew and has not ended. The same command goes on with its
 * dates, so what it has done already is found done.
 */
const JOB = z.strictObject({
  'bootseal-resign': z.literal(1),
  issued: z.string().refine(isStateTime),
  /** Other fixed words of every command line. */
  cmdline: z.string().optional(),
  /** Other fixed words of every module's command line. */
  moduleCmdline: z.string().optional(),
  /** Another name, of the one release that is meant. */
  release: z.string().optional(),
  /** A literal server for the scripts. */
  url: z.string().optional(),
  /** The releases that are meant; absent: all. */
  only: z.array(z.string()).optional(),
});

export type ResignJob = Omit<z.infer<typeof JOB>, 'bootseal-resign'>;

const KEY = 'resign.json';

/** Undefined where no batch is unfinished. Throws a `Refusal` (`malformed`). */
export async function readResignJob(state: string): Promise<ResignJob | undefined> {
  const found = await readStateJson(recordsOf(state), KEY, JOB);
  if (!found) return undefined;
  const { 'bootseal-resign': _, ...job } = found.value;
  return job;
}

export async function writeResignJob(state: string, { issued, ...rest }: ResignJob): Promise<void> {
  const { cmdline, moduleCmdline, release, url, only } = rest;
  const bytes = encodeStateJson({
    'bootseal-resign': 1,
    issued,
    cmdline,
    moduleCmdline,
    release,
    url,
    only,
  });
  await recordsOf(state).put(KEY, bytes);
}

export async function endResignJob(state: string): Promise<void> {
  const records = recordsOf(state);
  await records.compareAndSwap(KEY, (await records.get(KEY))?.version, undefined);
}
