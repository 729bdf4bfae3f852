import { mkdir, mkdtemp, readFile, rename, rm, watch, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CephNode } from './ceph.ts';

/*
 * One S3 engine for all the test files of a run: whoever needs it first starts it, and `test/run.ts` stops it at the end.
 * A test file that runs alone has one of its own. Who wants to stop or kill an engine makes a node of its own, too.
 */

/** Names the folder that the files of a run share; empty until somebody needs an engine. */
const FOLDER = 'BOOTSEAL_LAB_S3';

/** Runs `work` with a place for an engine that all who are started meanwhile share. */
export async function withSharedS3<T>(work: () => Promise<T>): Promise<T> {
  const folder = await mkdtemp('/tmp/bsl-s3-');
  process.env[FOLDER] = folder;
  try {
    return await work();
  } finally {
    delete process.env[FOLDER];
    const node = await CephNode.of(join(folder, 'node')).catch(() => undefined);
    await node?.destroy();
    await rm(folder, { recursive: true, force: true });
  }
}

/** An engine to make buckets in. @param end is given what must be done once this test file has no need of it. */
export async function s3Engine(end: (work: () => Promise<void>) => void): Promise<CephNode> {
  const folder = process.env[FOLDER];
  if (!folder) {
    const node = await CephNode.make();
    end(() => node.destroy());
    return node;
  }
  const place = join(folder, 'node');
  const said = join(folder, 'said');
  const first = await mkdir(join(folder, 'begun')).then(
    () => true,
    () => false,
  );
  if (first) {
    const outcome = await CephNode.make({ folder: place, outlives: true }).then(
      () => '',
      (error: unknown) => String(error),
    );
    await writeFile(`${said}.new`, outcome);
    await rename(`${said}.new`, said);
  }
  const outcome = await waitFor(folder, said);
  if (outcome !== '') throw new Error(`The S3 engine of this run could not be started: ${outcome}`);
  return CephNode.of(place);
}

/** The content of a file, once it is there. */
async function waitFor(folder: string, path: string): Promise<string> {
  const stop = new AbortController();
  const changes = watch(folder, { signal: stop.signal });
  const look = () => readFile(path, 'utf8').catch(() => undefined);
  try {
    const next = changes[Symbol.asyncIterator]();
    // Watching begins with the first question.
    let change = next.next();
    for (;;) {
      const text = await look();
      if (text !== undefined) {
        change.catch(() => {});
        return text;
      }
      await change;
      change = next.next();
    }
  } finally {
    stop.abort();
  }
}
