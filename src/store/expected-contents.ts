import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { readBeneathIfThere } from '../files/beneath.ts';
import { decodeManifest, MAX_MANIFEST, type Manifest } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { recordsOf } from './folder-backend.ts';
import { type LoggedRelease, loggedReleases } from './logged-release.ts';
import { objectKey } from './objects.ts';
import { storedReleases } from './quarantine.ts';

/** A file that a release has. */
export interface ExpectedFile {
  /** Lower-case hex. */
  readonly sha256: string;
  /** Bytes; undefined for a record, of which the log names the digest alone. */
  readonly size: number | undefined;
}

/** What lies in the folder of a release, by the state's own word. */
export interface ExpectedRelease {
  readonly files: ReadonlyMap<string, ExpectedFile>;
  /** SHA-256 of its manifest, lower-case hex; empty where nobody could tell. */
  readonly manifest: string;
  /** False: no entry of the log lists its records, or its manifest is lost, so a file that is not among these may be its own. */
  readonly complete: boolean;
}

/**
 * What each release of a state is made of: its payload by the manifest, its records by the log. No key is asked: this is
 * what the state was given, for whoever looks whether it still has it.
 *
 * @throws Refusal `drifted`, `malformed` for a log that is not what it was; IoError.
 */
export async function expectedContents(state: string): Promise<ReadonlyMap<string, ExpectedRelease>> {
  const logged = await loggedReleases(state).catch((error: unknown) => {
    if (error instanceof Refusal && error.code === 'absent')
      return new Map<string, readonly LoggedRelease[]>();
    throw error;
  });
  const found = new Map<string, ExpectedRelease>();
  for (const release of await storedReleases(state))
    found.set(release, await expectedOf(state, release, logged.get(release)));
  return found;
}

async function expectedOf(
  state: string,
  release: string,
  all: readonly LoggedRelease[] = [],
): Promise<ExpectedRelease> {
  const there = await readManifest(join(state, 'releases', release));
  // An entry that is newer than what lies there is of an act that was never done: it is written first.
  const logged = all.findLast(({ manifest }) => there && manifest === sha256Of(there)) ?? all.at(-1);
  const files = new Map<string, ExpectedFile>();
  for (const [path, sha256] of logged?.seals ?? []) files.set(path, { sha256, size: undefined });
  const bytes =
    logged && (!there || sha256Of(there) !== logged.manifest) ? await objectOf(state, logged) : there;
  const manifest = decoded(bytes);
  for (const { path, sha256, size } of manifest?.files ?? []) files.set(path, { sha256, size });
  return {
    files,
    manifest: logged?.manifest ?? (there ? sha256Of(there) : ''),
    // A manifest that cannot be read says nothing of the payload: all of it would be put away for one flipped bit.
    complete: logged !== undefined && manifest !== undefined,
  };
}

/** The manifest as it was logged, where the folder of the release has lost it. */
async function objectOf(state: string, { manifest }: LoggedRelease): Promise<Uint8Array | undefined> {
  const bytes = (await recordsOf(state).get(objectKey(manifest)))?.bytes;
  return bytes && sha256Of(bytes) === manifest ? bytes : undefined;
}

function decoded(bytes: Uint8Array | undefined): Manifest | undefined {
  try {
    return bytes && decodeManifest(bytes);
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A link, or one that is too long, is none: whoever looks at the folder says so. */
async function readManifest(folder: string): Promise<Uint8Array | undefined> {
  try {
    return await readBeneathIfThere(folder, RECORD.manifest, MAX_MANIFEST);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}
