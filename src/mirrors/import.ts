import { link, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Refusal } from '../errors/refusal.ts';
import { explain } from '../files/atomic-file.ts';
import { makeDraft, removeOldDrafts } from '../files/draft-folder.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { makeFolders } from '../files/make-folders.ts';
import { openRegular } from '../files/measure.ts';
import { MemoryTree } from '../files/memory-tree.ts';
import { readInto, reading } from '../files/reading.ts';
import type { Tree } from '../files/tree.ts';
import {
  BUNDLE_SNAPSHOT,
  type BundleIndex,
  type BundleMember,
  type BundleRelease,
  bundleLogProof,
  bundleObject,
  bundleProvenance,
  bundleRecord,
  isSmallMember,
} from '../formats/records/bundle-index.ts';
import { SEAL, UKI } from '../formats/records/seal-names.ts';
import { keepBrought, PROVENANCE } from '../store/provenance.ts';
import { isBucketState } from '../store/s3/location.ts';
import { openState } from '../store/state.ts';
import { readFormat } from '../store/state-format.ts';
import { decodeStateJson } from '../store/state-json.ts';
import { readStatePolicy } from '../store/state-policy.ts';
import { demandLogged, type LoggedTime, loggedTime } from '../trust/log-proof-check.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { type AnchorFolders, fittingRoots, readTrustRoots } from '../trust/trust-roots.ts';
import { type RecordsVerdict, Verifier } from '../trust/verifier.ts';
import { BundleReader } from './bundle-reader.ts';
import { demandNamed, takeIn } from './intake.ts';
import { recordRefusal } from './intake-log.ts';
import type { IntakeResult, IntakeTerms } from './intake-terms.ts';
import { judgeSnapshot, snapshotSigners, type UpstreamSnapshot } from './upstream.ts';

export interface ImportOptions {
  /** A file, or its bytes as they come. */
  readonly bundle: string | AsyncIterable<Uint8Array>;
  readonly state: string;
  /** What releases must lead to. */
  readonly anchors: AnchorFolders;
  /** Of the key that signs the channel and the log there; default: `snapshot.crt` in the first folder of anchors. */
  readonly snapshotCertificate?: string;
  /** Signs the log's checkpoint here: see `IntakeTerms`. */
  readonly snapshotKey?: string;
  /** Where it came from, for the record; default: the file's own name. */
  readonly origin?: string;
  /** Releases that the channel may go back to though its snapshot does not say that it does. */
  readonly back?: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Bytes of the large files so far, and of all of them. What it throws ends the import, and nothing is kept. */
  readonly onProgress?: (done: number, size: number) => void;
}

export interface ImportResult extends IntakeResult {
  readonly channel: string | undefined;
  /** When the log there took each release, where a proof came along. */
  readonly logged: ReadonlyMap<string, LoggedTime>;
}

/**
 * Takes in what `exportBundle` made, in one go from front to end. The records come first, and are judged before anything
 * large is read: what a manifest does not list, or lists with another size, is never written. The payload is put beside
 * the state; then all of it is judged and kept exactly as what is pulled from a mirror is (`takeIn`). What is refused
 * leaves nothing but a word in the log.
 *
 * @throws UsageError, Refusal, IoError
 */
export async function importBundle(options: ImportOptions): Promise<ImportResult> {
  const { bundle, now } = options;
  const roots = await readTrustRoots(options.anchors);
  const [first = ''] = typeof options.anchors === 'string' ? [options.anchors] : options.anchors;
  const name = typeof bundle === 'string' ? bundle : 'The bundle';
  const source = typeof bundle === 'string' ? filePieces(bundle) : bundle;
  const reader = new BundleReader(source, name);
  try {
    const index = await reader.index();
    const terms: IntakeTerms = {
      state: options.state,
      roots,
      now,
      origin: options.origin ?? originOf(bundle),
      snapshotSigners: await signersOf(first, options.snapshotCertificate, index),
      ...(options.back === undefined ? {} : { back: options.back }),
      ...(options.snapshotKey === undefined ? {} : { snapshotKey: options.snapshotKey }),
    };
    const records = await onRecord(terms, index, async () =>
      judgeRecords(terms, index, await smallMembers(reader, index)),
    );
    return await withPayload(options, terms, reader, index, records);
  } finally {
    await reader.close();
  }
}

/** What is known once everything small was read and judged. */
interface JudgedRecords {
  readonly channel: string | undefined;
  readonly snapshot: UpstreamSnapshot | undefined;
  readonly small: ReadonlyMap<string, Uint8Array>;
  readonly verdicts: ReadonlyMap<string, RecordsVerdict & { readonly paths: ReadonlyMap<string, string> }>;
  readonly logged: ReadonlyMap<string, LoggedTime>;
}

/** What ends an import before the intake is on record too; a state that there is not yet is not made to hold it. */
async function onRecord<T>(terms: IntakeTerms, { channel }: BundleIndex, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal && (await readFormat(terms.state)) !== undefined)
      await recordRefusal(terms, channel, error);
    throw error;
  }
}

async function smallMembers(
  reader: BundleReader,
  { members }: BundleIndex,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const small = new Map<string, Uint8Array>();
  for (const member of members.filter(isSmallMember)) small.set(member.name, await reader.whole(member));
  return small;
}

async function judgeRecords(
  terms: IntakeTerms,
  index: BundleIndex,
  small: ReadonlyMap<string, Uint8Array>,
): Promise<JudgedRecords> {
  const { channel } = index;
  const [bytes, seal] = [small.get(BUNDLE_SNAPSHOT), small.get(BUNDLE_SNAPSHOT + SEAL.cms)];
  if (channel !== undefined && !(bytes && seal)) throw lacks(BUNDLE_SNAPSHOT);
  const snapshot = channel !== undefined && bytes && seal ? { channel, bytes, seal } : undefined;
  // 1. What the channel is at, and that it does not go back.
  if (snapshot) await judgeSnapshot(terms, snapshot);
  const policy = await readStatePolicy(terms.state);
  const verdicts = new Map<string, RecordsVerdict & { readonly paths: ReadonlyMap<string, string> }>();
  const logged = new Map<string, LoggedTime>();
  for (const one of index.releases) {
    const { release } = one;
    // 2. Each release's manifest and scripts, by the anchors.
    const tree = new MemoryTree(release, recordsOf(one, small));
    const verifier = new Verifier(await fittingRoots(tree, terms.roots), policy, () => terms.now);
    const verdict = await verifier.verifyRecords(tree);
    const { manifest, manifestSha256 } = verdict;
    if (verdict.refusal || !manifest)
      throw verdict.refusal ?? new Refusal('no-verdict', `Nothing vouches for ${release}.`, { release });
    demandNamed({ manifest, manifestSha256 }, { release });
    const paths = new Map(manifest.files.map(({ path, sha256 }) => [path, sha256]));
    const uki = one.records.get(UKI);
    if (uki !== undefined) paths.set(UKI, uki);
    verdicts.set(release, { ...verdict, paths });
    // 3. What the log there says of it, and of each of its seals.
    const proof = small.get(bundleLogProof(release));
    if (proof && terms.snapshotSigners.length > 0) {
      const at = defaultPolicy(terms.now);
      const time = await loggedTime(proof, terms.snapshotSigners, at, manifestSha256);
      demandLogged(time, verdict.records);
      logged.set(release, time);
    }
    const past = small.get(bundleProvenance(release));
    if (past) decodeStateJson(bundleProvenance(release), past, PROVENANCE);
  }
  // 4. What follows is what the manifests list, all of it and nothing else, and no larger than they say.
  demandListed(index, verdicts);
  return { channel, snapshot, small, verdicts, logged };
}

function recordsOf(
  { records }: BundleRelease,
  small: ReadonlyMap<string, Uint8Array>,
): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const [path, sha256] of records) {
    const bytes = small.get(bundleRecord(sha256));
    if (bytes) found.set(path, bytes);
    else if (path !== UKI) throw lacks(path);
  }
  return found;
}

function lacks(what: string): Refusal {
  return new Refusal('absent', `The bundle's index names ${what}, and it is not in the bundle.`, {
    path: what,
  });
}

/** Bytes: firmware loads no larger image. */
const MAX_UKI = 2 ** 31;

function demandListed(index: BundleIndex, verdicts: JudgedRecords['verdicts']): void {
  const listed = new Map<string, number>();
  const images = new Set<string>();
  for (const { manifest, paths } of verdicts.values()) {
    for (const { size, sha256 } of manifest?.files ?? []) listed.set(bundleObject(sha256), size);
    const uki = paths.get(UKI);
    if (uki !== undefined) images.add(bundleObject(uki));
  }
  const there = new Set<string>();
  for (const { name, size } of index.members.filter((member) => !isSmallMember(member))) {
    there.add(name);
    const wanted = listed.get(name);
    if (wanted === undefined && images.has(name) && size <= MAX_UKI) continue;
    if (wanted === size) continue;
    throw wanted === undefined
      ? new Refusal('mixed-releases', `${name} in the bundle belongs to none of its releases.`, {
          path: name,
        })
      : new Refusal(
          'too-large',
          `${name} has ${size} bytes in the bundle, and the manifest that lists it says ${wanted}.`,
          { path: name, size, wanted },
        );
  }
  for (const name of [...listed.keys(), ...images]) if (!there.has(name)) throw lacks(name);
}

/** Puts the payload beside the state for as long as it takes to judge and keep it. */
async function withPayload(
  { state, onProgress }: ImportOptions,
  terms: IntakeTerms,
  reader: BundleReader,
  index: BundleIndex,
  records: JudgedRecords,
): Promise<ImportResult> {
  // What is carried in may be as large as the state's own disk: it is there that it must have room.
  await (await openState(state)).release();
  const place = isBucketState(state) ? join(tmpdir(), 'bootseal-import') : join(resolve(state), 'import');
  const draft = await makeFolderFor(place);
  try {
    await onRecord(terms, index, async () => {
      const places = placesOf(records.verdicts);
      const large = index.members.filter((member) => !isSmallMember(member));
      const total = large.reduce((sum, { size }) => sum + size, 0);
      let done = 0;
      for (const member of large) {
        await unpack(reader, member, draft, places.get(member.sha256) ?? [], (octets) => {
          done += octets;
          onProgress?.(done, total);
        });
      }
      await reader.end();
    });
    const trees = new Map<string, Tree>();
    for (const [number, one] of index.releases.entries()) {
      const below = new FolderTree(join(draft, String(number)));
      trees.set(one.release, new MemoryTree(one.release, recordsOf(one, records.small), below));
    }
    return await keep(terms, records, trees);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** A folder of this process's own; what killed ones left is taken away first. */
async function makeFolderFor(place: string): Promise<string> {
  try {
    await removeOldDrafts(place);
    return await makeDraft(place);
  } catch (error) {
    throw explain(error, place);
  }
}

/** Where content goes, by its digest: below a folder for each release. A tree of one that has no payload is empty. */
function placesOf(verdicts: JudgedRecords['verdicts']): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>();
  for (const [number, { paths }] of [...verdicts.values()].entries()) {
    for (const [path, sha256] of paths)
      places.set(sha256, [...(places.get(sha256) ?? []), join(String(number), path)]);
  }
  return places;
}

async function unpack(
  reader: BundleReader,
  member: BundleMember,
  draft: string,
  paths: readonly string[],
  onPiece: (octets: number) => void,
): Promise<void> {
  const [first = member.sha256, ...others] = paths.map((path) => join(draft, path));
  for (const path of [first, ...others]) await makeFolders(dirname(path));
  const handle = await open(first, 'wx', 0o600).catch((error: unknown) => {
    throw explain(error, first);
  });
  try {
    for await (const piece of reader.content(member)) {
      await handle.writeFile(piece).catch((error: unknown) => {
        throw explain(error, first);
      });
      onPiece(piece.length);
    }
  } finally {
    await handle.close();
  }
  for (const path of others) {
    await link(first, path).catch((error: unknown) => {
      throw explain(error, path);
    });
  }
}

async function keep(
  terms: IntakeTerms,
  { channel, snapshot, small, verdicts, logged }: JudgedRecords,
  trees: ReadonlyMap<string, Tree>,
): Promise<ImportResult> {
  const readRecord = async (key: string, limit: number): Promise<Uint8Array> => {
    const bytes = small.get(key);
    if (!bytes) throw lacks(key);
    if (bytes.length > limit)
      throw new Refusal('too-large', `${key} has ${bytes.length} bytes in the bundle.`, { path: key, limit });
    return bytes;
  };
  const result = await takeIn(terms, { ...(snapshot ? { snapshot } : {}), trees, readRecord });
  if (result.refusal === undefined) {
    const state = await openState(terms.state);
    try {
      for (const [release, { manifestSha256 }] of verdicts) {
        await keepBrought(state.folder, release, manifestSha256, {
          logProof: logged.has(release) ? small.get(bundleLogProof(release)) : undefined,
          provenance: small.get(bundleProvenance(release)),
        });
      }
    } finally {
      await state.release();
    }
  }
  return { ...result, channel, logged };
}

/** A bundle of a release alone may do without: then nobody can tell what its log's proof is worth. */
async function signersOf(anchors: string, certificate: string | undefined, { channel }: BundleIndex) {
  try {
    return await snapshotSigners(anchors, certificate);
  } catch (error) {
    if (channel === undefined && certificate === undefined) return [];
    throw error;
  }
}

function originOf(bundle: ImportOptions['bundle']): string {
  return pathToFileURL(typeof bundle === 'string' ? resolve(bundle) : '/dev/stdin').href;
}

/** Bytes read at a time. */
const CHUNK = 1024 * 1024;

/** A regular file, from one descriptor. Nothing else is opened: a FIFO would be waited for. */
async function* filePieces(path: string): AsyncGenerator<Uint8Array> {
  const { handle } = await openRegular(path);
  try {
    for (let at = 0; ; ) {
      const buffer = Buffer.allocUnsafe(CHUNK);
      const read = await reading(path, undefined, () => readInto(handle, buffer, at));
      if (read === 0) return;
      yield buffer.subarray(0, read);
      at += read;
    }
  } finally {
    await handle.close();
  }
}
