import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import {
  decodeReleaseList,
  encodeReleaseList,
  type ListEntry,
  type ReleaseList,
} from '../formats/records/release-list.ts';
import { decodeOr } from '../trust/check.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { demandKey, type StoreBackend, type StoredFile } from './backend.ts';
import { objectKey, REWRITE_AFTER } from './objects.ts';

/*
 * Releases in a bucket. `lists/NAME/VERSION` is a release: which object lies at which of its paths. It is written last, and
 * only where there is none. Below `releases/NAME/VERSION/` are the same bytes once more, by copies that the engine makes,
 * for any web client; nothing here reads them.
 */

/** The key of a release's list. */
export function listKey(release: string): string {
  return `lists/${release}`;
}

/** The key of why a release is in quarantine. */
export function reasonKey(release: string): string {
  return `quarantine/${release}/reason.json`;
}

/** The key of the copy of a file, for web clients. */
export function copyKey(release: string, path: string): string {
  return `releases/${release}/${path}`;
}

/** Puts a verified release into a bucket: as `ReleaseShelf.store` says. */
export async function storeInBucket(
  records: StoreBackend,
  verified: VerifiedRelease,
  now: number,
): Promise<boolean> {
  const { release } = verified;
  const parts = partsOf(verified);
  const list = { release, files: parts.map(({ path, size, sha256 }) => ({ path, size, sha256 })) };
  demandCopies(list);
  if (await alreadyThere(records, list, verified.records)) return false;
  // What went to quarantine may have done so for an object that only looks like what it was.
  const anew = (await records.facts(reasonKey(release))) !== undefined;
  for (const part of parts) {
    if (anew) await records.putFile(objectKey(part.sha256), part);
    else await storeObject(records, part, now);
  }
  await writeCopies(records, release, list.files);
  if (await records.putIfAbsent(listKey(release), encodeReleaseList(list))) return true;
  // Another publisher was first. Our copies may lie over those of what is there now.
  const there = await readList(records, release);
  if (there) await writeCopies(records, release, there.files);
  return !(await alreadyThere(records, list, verified.records));
}

/** The list of a release; undefined where there is none. Throws a `Refusal` (`malformed`, `drifted`), an IoError. */
export async function readList(
  records: StoreBackend,
  release: string,
  key = listKey(release),
): Promise<ReleaseList | undefined> {
  const record = await records.get(key);
  return record && listOf(key, record.bytes, release);
}

/** A list that was read. @param release whose it must be. Throws as `readList`. */
export function listOf(key: string, bytes: Uint8Array, release: string): ReleaseList {
  const list = decodeOr(key, () => decodeReleaseList(bytes));
  if (list.release === release) return list;
  throw new Refusal('drifted', `${key} is the list of ${list.release}: it was moved.`, { path: key });
}

/** Puts content among the objects, unless it is there and nobody will collect it. @param now milliseconds since 1970. */
export async function storeObject(records: StoreBackend, file: StoredFile, now: number): Promise<void> {
  const key = objectKey(file.sha256);
  const there = await records.facts(key);
  if (there?.size === file.size && now - there.modified <= REWRITE_AFTER) return;
  await records.putFile(key, file);
}

/** Lets the engine copy what lies at the paths of a release. @throws Refusal `drifted` for an object that is gone. */
export async function writeCopies(
  records: StoreBackend,
  release: string,
  files: readonly ListEntry[],
): Promise<void> {
  for (const { path, sha256 } of files) {
    if (await records.copy(objectKey(sha256), copyKey(release, path))) continue;
    throw lost(release, path);
  }
}

/** Takes the copies of a release away. Whoever reads them reads what the state no longer offers. */
export async function removeCopies(
  records: StoreBackend,
  release: string,
  files: readonly ListEntry[],
): Promise<void> {
  for (const { path } of files) await records.remove(copyKey(release, path));
}

export function bytesFile(path: string, bytes: Uint8Array): StoredFile & { readonly path: string } {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { path, source: bytes, name: path, size: bytes.length, sha256 };
}

function partsOf({ files, records }: VerifiedRelease): (StoredFile & { readonly path: string })[] {
  return [
    ...[...files].map(([path, { path: source, size, sha256 }]) => ({
      path,
      source,
      name: path,
      size,
      sha256,
    })),
    ...[...records].map(([path, bytes]) => bytesFile(path, bytes)),
  ];
}

/** A hidden name is none of a store's keys (they are unfinished files): such a release could not be copied whole. */
function demandCopies({ release, files }: ReleaseList): void {
  for (const { path } of files) {
    try {
      demandKey(copyKey(release, path));
    } catch {
      throw new Refusal(
        'unsafe-path',
        `${path} cannot be a key of a bucket: no part of it may begin with a dot, and with the release's name it has at most 1024 bytes.`,
        { release, path },
      );
    }
  }
}

/** True for a release that is there with these very files, every object of them among it. Lost copies are made again. */
async function alreadyThere(
  records: StoreBackend,
  wanted: ReleaseList,
  verified: ReadonlyMap<string, Uint8Array>,
): Promise<boolean> {
  const { release } = wanted;
  const there = await readList(records, release);
  if (!there) return false;
  const found = new Map(there.files.map((entry) => [entry.path, entry]));
  // Records first: they name the rest.
  for (const { path, size, sha256 } of [...wanted.files].sort(
    (a, b) => Number(verified.has(b.path)) - Number(verified.has(a.path)),
  )) {
    const entry = found.get(path);
    if (entry?.sha256 === sha256 && entry.size === size) continue;
    throw new Refusal(
      'mixed-releases',
      `${release} is published already, with another ${path}; a published release never changes.`,
      { release, path },
    );
  }
  for (const { path, size, sha256 } of there.files) {
    if ((await records.facts(objectKey(sha256)))?.size !== size) throw lost(release, path);
    const copied = (await records.facts(copyKey(release, path)))?.size === size;
    if (!copied && !(await records.copy(objectKey(sha256), copyKey(release, path))))
      throw lost(release, path);
  }
  return true;
}

function lost(release: string, path: string): Refusal {
  return new Refusal('drifted', `${release} is published already, and the store has lost its ${path}.`, {
    release,
    path,
  });
}
