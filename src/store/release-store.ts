import { createHash, randomBytes } from 'node:crypto';
import { link, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { explain, isGone, syncDirectory } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere, lstatIfThere, readIfThere } from '../files/read-if-there.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { PinnedFile } from '../release/pin.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { cleanFolder, recordsOf } from './folder-backend.ts';
import { objectKey, REWRITE_AFTER } from './objects.ts';

/**
 * Puts a verified release into a folder, whole or not at all. Bytes are copied (or reflinked), never linked
 * out of the operator's tree, and the copy is what is hashed.
 *
 * @param now milliseconds since 1970.
 * @returns false where the very same release was there already; what it had lost is put back.
 * @throws Refusal `drifted` where a file is no longer what was verified, or the store has lost the manifest with all its seals; `mixed-releases` where another release of that name was published: a published release never changes.
 */
export async function storeRelease(state: string, verified: VerifiedRelease, now: number): Promise<boolean> {
  const { release, files, records } = verified;
  const target = join(state, 'releases', release);
  if (await isThere(target)) {
    await putBack(state, target, verified, await lostOf(target, verified), now);
    return false;
  }
  const parent = dirname(target);
  await makeFolders(parent);
  await cleanFolder(parent);
  const draft = join(parent, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await makeFolders(draft);
    const folders = new Set([draft]);
    const place = async (path: string, object: string) => {
      const to = join(draft, path);
      await makeFolders(dirname(to));
      for (let at = dirname(to); at !== draft; at = dirname(at)) folders.add(at);
      await link(object, to);
    };
    for (const [path, file] of files) await place(path, await storeFile(state, path, file, now));
    for (const [path, bytes] of records) await place(path, await storeBytes(state, bytes, now));
    for (const folder of [...folders].reverse()) await syncDirectory(folder);
    await rename(draft, target);
    await syncDirectory(parent);
  } catch (error) {
    throw explain(error, target, await isGone(draft));
  }
  return true;
}

/**
 * What is missing of a release that is there with its manifest or a seal of it: the paths of records and files that were taken away, as a
 * sentinel does with what was changed.
 */
async function lostOf(target: string, { release, files, records }: VerifiedRelease): Promise<Set<string>> {
  const lost = (path: string) =>
    new Refusal('drifted', `${release} is published already, and the store has lost its ${path}.`, {
      release,
      path,
    });
  const missing = new Set<string>();
  const same: string[] = [];
  let other: string | undefined;
  for (const [path, bytes] of records) {
    const there = await readIfThere(join(target, path));
    if (there === undefined) {
      missing.add(path);
      continue;
    }
    if (Buffer.compare(there, bytes) === 0) same.push(path);
    else other ??= path;
  }
  if (other !== undefined) throw another(release, other, same);
  // The manifest, or a seal of it: that is over no other one, and tells which release this is where the manifest is gone.
  const { manifest } = RECORD;
  const isNamed = same.some((path) => path === manifest || path.startsWith(`${manifest}.`));
  if (!isNamed) throw lost(manifest);
  for (const [path, { size }] of files) {
    const there = await lstatIfThere(join(target, path));
    if (!there) missing.add(path);
    else if (there.size !== size) throw lost(path);
  }
  return missing;
}

/** Why a record is not the one that was published: where a seal of that is among the `same`, it was changed on this disk. */
function another(release: string, path: string, same: readonly string[]): Refusal {
  return same.some((seal) => seal.startsWith(`${path}.`))
    ? new Refusal(
        'drifted',
        `${release} is published already, and its ${path} was changed in the store; "bootseal state watch --once" puts that away, and the same command gives it back then.`,
        { release, path },
      )
    : new Refusal(
        'mixed-releases',
        `${release} is published already, with another ${path}; a published release never changes.`,
        { release, path },
      );
}

/** Gives a release back what it lost, each file whole; all else stays as it is, under whoever reads it. */
async function putBack(
  state: string,
  target: string,
  { files, records }: VerifiedRelease,
  missing: ReadonlySet<string>,
  now: number,
): Promise<void> {
  for (const path of missing) {
    const [file, bytes] = [files.get(path), records.get(path)];
    const object = file
      ? await storeFile(state, path, file, now)
      : await storeBytes(state, bytes ?? new Uint8Array(0), now);
    const to = join(target, path);
    try {
      await makeFolders(dirname(to));
      await link(object, to);
      await syncDirectory(dirname(to));
    } catch (error) {
      throw explain(error, to);
    }
  }
}

/** Where the content of a digest is, or would be. */
export function objectPath(state: string, sha256: string): string {
  return join(state, objectKey(sha256));
}

async function storeFile(
  state: string,
  path: string,
  { path: source, size, sha256 }: PinnedFile,
  now: number,
): Promise<string> {
  const object = objectPath(state, sha256);
  if (await isReusable(object, size, now)) return object;
  await cleanFolder(dirname(object));
  await recordsOf(state).putFile(objectKey(sha256), { source, name: path, size, sha256 });
  return object;
}

/** Puts bytes among the objects; answers where they are. @param now milliseconds since 1970. */
export async function storeBytes(state: string, bytes: Uint8Array, now: number): Promise<string> {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const object = objectPath(state, sha256);
  if (await isReusable(object, bytes.length, now)) return object;
  const { length: size } = bytes;
  await recordsOf(state).putFile(objectKey(sha256), { source: bytes, name: object, size, sha256 });
  return object;
}

/** Whether an object may be linked as it is. */
async function isReusable(object: string, size: number, now: number): Promise<boolean> {
  const there = await lstatIfThere(object);
  if (!there?.isFile() || there.size !== size) return false;
  return there.nlink > 1 || now - there.mtimeMs <= REWRITE_AFTER;
}
