import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { explain, removeTemporaries, syncDirectory, writeFileAtomically } from '../files/atomic-file.ts';
import { measureFile } from '../files/measure.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { Verified } from '../trust/verify.ts';

/** One file on its way into the store. */
export interface IncomingFile {
  /** Relative to the release. */
  readonly path: string;
  /** What was verified; the store takes nothing else. */
  readonly verified: Pick<Verified, 'size' | 'sha256'>;
  /** Where its bytes are. */
  readonly source: string;
}

/** Records and seals: bytes in memory, as they were when the release was verified. */
export type IncomingRecords = ReadonlyMap<string, Uint8Array>;

/**
 * Puts a verified release into the store, whole or not at all. Bytes are copied (or reflinked), never linked
 * out of the operator's tree, and the copy is what is hashed.
 *
 * @returns false where the very same release was there already.
 * @throws Refusal `drifted` where a file is no longer what was verified; `mixed-releases` where another release
 *   of that name was published before: a published release never changes.
 */
export async function storeRelease(
  state: string,
  release: string,
  files: readonly IncomingFile[],
  records: IncomingRecords,
): Promise<boolean> {
  const target = join(state, 'releases', release);
  if (await alreadyThere(target, release, records)) return false;
  const parent = dirname(target);
  await mkdir(parent, { recursive: true });
  await removeTemporaries(parent);
  const draft = join(parent, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await mkdir(draft);
    const folders = new Set([draft]);
    const place = async (path: string, object: string) => {
      const to = join(draft, path);
      await mkdir(dirname(to), { recursive: true });
      for (let at = dirname(to); at !== draft; at = dirname(at)) folders.add(at);
      await link(object, to);
    };
    for (const { path, verified, source } of files)
      await place(path, await storeFile(state, path, verified, source));
    for (const [path, bytes] of records) await place(path, await storeBytes(state, bytes));
    for (const folder of [...folders].reverse()) await syncDirectory(folder);
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw explain(error, target);
  }
  await syncDirectory(parent);
  return true;
}

/** True for a release that is there with these very records. */
async function alreadyThere(target: string, release: string, records: IncomingRecords): Promise<boolean> {
  const old = await readFile(join(target, RECORD.manifest)).catch(() => undefined);
  if (old === undefined) return false;
  for (const [path, bytes] of records) {
    const there = await readFile(join(target, path)).catch(() => undefined);
    if (there !== undefined && Buffer.compare(there, bytes) === 0) continue;
    throw new Refusal(
      'mixed-releases',
      `${release} is published already, with another ${path}; a published release never changes.`,
      { release, path },
    );
  }
  return true;
}

/** Where the content of a digest is, or would be. */
export function objectPath(state: string, sha256: string): string {
  return join(state, 'objects', 'sha256', sha256.slice(0, 2), sha256.slice(2));
}

async function storeFile(
  state: string,
  path: string,
  verified: IncomingFile['verified'],
  source: string,
): Promise<string> {
  const object = objectPath(state, verified.sha256);
  const there = await stat(object).catch(() => undefined);
  if (there?.size === verified.size) return object;
  const folder = dirname(object);
  await mkdir(folder, { recursive: true });
  await removeTemporaries(folder);
  const draft = join(folder, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await copyFile(source, draft, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const { size, answers } = await measureFile(draft, [{ kind: 'digest', hash: 'sha256' }]);
    const [digest] = answers;
    const sha256 = digest instanceof Uint8Array ? Buffer.from(digest).toString('hex') : '';
    if (size !== verified.size || sha256 !== verified.sha256) {
      throw new Refusal('drifted', `${path} changed after it was verified.`, { path });
    }
    await makeDurable(draft);
    await rename(draft, object);
  } catch (error) {
    await rm(draft, { force: true });
    throw explain(error, object);
  }
  await syncDirectory(folder);
  return object;
}

/** Puts bytes among the objects; answers where they are. */
export async function storeBytes(state: string, bytes: Uint8Array): Promise<string> {
  const object = objectPath(state, createHash('sha256').update(bytes).digest('hex'));
  if (await stat(object).catch(() => undefined)) return object;
  await mkdir(dirname(object), { recursive: true });
  await writeFileAtomically(object, bytes, { mode: 0o444 });
  return object;
}

async function makeDurable(path: string): Promise<void> {
  await chmod(path, 0o444);
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
