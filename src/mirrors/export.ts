import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import {
  BUNDLE_SNAPSHOT,
  type BundleIndex,
  type BundleMember,
  type BundleRelease,
  bundleLogProof,
  bundleObject,
  bundleProvenance,
  bundleRecord,
  inBundleOrder,
} from '../formats/records/bundle-index.ts';
import { decodeManifest, MAX_MANIFEST } from '../formats/records/manifest.ts';
import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { decodeScriptBatch, scriptFile } from '../formats/records/script-batch.ts';
import { SEAL, UKI } from '../formats/records/seal-names.ts';
import { channelNames, readChannel, type StoredSnapshot } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { makeLogProof } from '../store/log-proof.ts';
import { loggedReleases } from '../store/logged-release.ts';
import { objectKey } from '../store/objects.ts';
import { broughtProof, provenanceKey } from '../store/provenance.ts';
import { storedReleases } from '../store/quarantine.ts';
import { readBatch, readBatchRules } from '../store/script-batches.ts';
import { readScript } from '../store/signed-scripts.ts';
import { demandState } from '../store/state.ts';
import { demandSnapshotAnchors } from '../store/state-anchors.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import { decodeOr } from '../trust/check.ts';
import { VOUCHING } from '../trust/log-proof-check.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import { bundlePieces, bundleSize } from './bundle-writer.ts';

export interface ExportOptions {
  readonly state: string;
  /** A channel, or a release as `NAME/VERSION`. */
  readonly what: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A bundle that is ready to be written. */
export interface Bundle {
  readonly channel: string | undefined;
  readonly releases: readonly string[];
  /** Bytes. */
  readonly size: number;
  /**
   * Its bytes, piece by piece: each content is read from the store now, and held against its digest before its last bytes
   * are given. Where one is not what it was the pieces end with a `Refusal`, and what was written so far is no bundle.
   */
  pieces(): AsyncIterable<Uint8Array>;
}

/** Bytes read at a time. */
const CHUNK = 1024 * 1024;

/**
 * Puts together what is carried to another state: a channel's snapshot and scripts and the releases that it names, or one
 * release; records, payload, the log's proof, where it came from. Two of the same state are equal byte for byte. Nothing is
 * judged here beyond what the store can say of itself; whoever takes it in verifies it.
 *
 * @throws UsageError for what the state does not hold; Refusal `drifted`, `stale`, `withdrawn`, `absent`; IoError.
 */
export async function exportBundle({ state, what, now }: ExportOptions): Promise<Bundle> {
  await demandState(state);
  const channel = isReleaseId(what) ? undefined : what;
  const small = new Map<string, Uint8Array>();
  const snapshot = channel === undefined ? undefined : await freshSnapshot(state, channel, now);
  const wanted: { readonly release: string; readonly manifest: string | undefined }[] = [
    ...(snapshot?.snapshot.releases ?? [{ release: what, manifest: undefined }]),
  ];
  if (snapshot) {
    small.set(BUNDLE_SNAPSHOT, snapshot.bytes);
    small.set(BUNDLE_SNAPSHOT + SEAL.cms, snapshot.seal);
    const { scripts } = snapshot.snapshot;
    // What machines get by name may start releases that the channel does not name.
    for (const release of scripts === undefined ? [] : await addScripts(state, scripts, small))
      wanted.push({ release, manifest: undefined });
  }
  const large = new Map<string, BundleMember>();
  const releases: BundleRelease[] = [];
  for (const { release, manifest } of [...wanted].sort((a, b) => (a.release < b.release ? -1 : 1))) {
    if (releases.some((one) => one.release === release)) continue;
    releases.push(await addRelease(state, release, manifest, small, large));
  }
  const members = [...small].map(([name, bytes]) => ({ name, size: bytes.length, sha256: sha256Of(bytes) }));
  const index: BundleIndex = { channel, releases, members: inBundleOrder([...members, ...large.values()]) };
  return {
    channel,
    releases: releases.map(({ release }) => release),
    size: decodeOr('The bundle', () => bundleSize(index)),
    pieces: () =>
      bundlePieces(index, async function* (member) {
        const bytes = small.get(member.name);
        if (bytes) yield bytes;
        else yield* objectPieces(state, member);
      }),
  };
}

/** One that whoever takes it in would refuse is not carried anywhere. */
async function freshSnapshot(state: string, channel: string, now: number): Promise<StoredSnapshot> {
  const current =
    isChannelName(channel) && (await channelNames(state)).includes(channel)
      ? await readChannel(state, channel)
      : undefined;
  if (!current) {
    throw new UsageError(
      `${state} has no channel ${JSON.stringify(channel)}; name a channel, or a release as NAME/VERSION.`,
    );
  }
  const signers = await demandSnapshotAnchors(state);
  await verifySnapshot(channel, current.bytes, current.seal, signers, defaultPolicy(now), now);
  return current;
}

/** @returns the releases that scripts start. */
async function addScripts(
  state: string,
  sha256: string,
  small: Map<string, Uint8Array>,
): Promise<ReadonlySet<string>> {
  const records = recordsOf(state);
  const bytes = await readBatch(records, sha256);
  const batch = decodeOr('The batch of scripts', () => decodeScriptBatch(bytes));
  small.set(`scripts/${sha256}.batch`, bytes);
  small.set(`scripts/${batch.rules}.machines`, await readBatchRules(records, batch.rules));
  for (const script of batch.scripts) {
    const signed = await readScript(records, script.loader, script.sha256);
    small.set(scriptFile(script), signed.bytes);
    small.set(scriptFile(script) + SEAL.openpgp, signed.seal);
  }
  return new Set(batch.scripts.flatMap(({ release }) => release ?? []));
}

/** @param named SHA-256 of the manifest that the channel names; undefined: whichever the release has. */
async function addRelease(
  state: string,
  release: string,
  named: string | undefined,
  small: Map<string, Uint8Array>,
  large: Map<string, BundleMember>,
): Promise<BundleRelease> {
  if (!(await storedReleases(state)).includes(release))
    throw new UsageError(
      `${state} does not hold ${release}: it was never published there, or its folder was removed.`,
    );
  await demandNotWithdrawn(state, release);
  const all = (await loggedReleases(state)).get(release) ?? [];
  const logged = all.findLast(({ manifest }) => manifest === named) ?? all.at(-1);
  if (!logged)
    throw new Refusal('no-verdict', `The log of ${state} does not say which records ${release} has.`, {
      release,
    });
  const { manifest, seals: records } = logged;
  if (named !== undefined && manifest !== named)
    throw new Refusal('mixed-releases', `${release} in the state is not the one that its channel names.`, {
      release,
    });
  const proof = await proofOf(state, release, manifest);
  if (proof) small.set(bundleLogProof(release), proof);
  const provenance = await recordsOf(state).get(provenanceKey(release, 'record.json'));
  if (provenance) small.set(bundleProvenance(release), provenance.bytes);
  for (const [path, sha256] of records) {
    if (path === UKI) {
      large.set(sha256, {
        name: bundleObject(sha256),
        size: await sizeOf(state, release, path, sha256),
        sha256,
      });
      continue;
    }
    const record = await recordsOf(state).get(objectKey(sha256));
    if (!record || sha256Of(record.bytes) !== sha256) throw drifted(release, path);
    small.set(bundleRecord(sha256), record.bytes);
  }
  const bytes = small.get(bundleRecord(manifest));
  if (!bytes || bytes.length > MAX_MANIFEST) throw drifted(release, 'release.manifest');
  for (const { path, size, sha256 } of decodeOr('The manifest', () => decodeManifest(bytes)).files) {
    if ((await sizeOf(state, release, path, sha256)) !== size) throw drifted(release, path);
    large.set(sha256, { name: bundleObject(sha256), size, sha256 });
  }
  return { release, records };
}

/**
 * What an outsider can hold the release against: the proof that came along with it, else one of this log; a mirror's own
 * log is under no checkpoint where it has no key.
 */
async function proofOf(state: string, release: string, manifest: string): Promise<Uint8Array | undefined> {
  const brought = await broughtProof(state, release, manifest);
  if (brought) return brought;
  try {
    return await makeLogProof(
      state,
      `entry that says what ${release} is made of`,
      (entry) =>
        entry.release === release &&
        entry.manifest === manifest &&
        VOUCHING.has(entry.act) &&
        entry.seals !== undefined,
    );
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

async function sizeOf(state: string, release: string, path: string, sha256: string): Promise<number> {
  const facts = await recordsOf(state).facts(objectKey(sha256));
  if (facts) return facts.size;
  throw drifted(release, path);
}

function drifted(release: string, path: string): Refusal {
  return new Refusal(
    'drifted',
    `${path} of ${release} is gone from the store or is another: nothing of it is exported; publish the release again.`,
    { release, path },
  );
}

/** Content that is what its digest says; the last piece comes after that is known. */
async function* objectPieces(state: string, { size, sha256 }: BundleMember): AsyncGenerator<Uint8Array> {
  const key = objectKey(sha256);
  const wrong = () =>
    new Refusal(
      'drifted',
      `${key} is not what its name says: it was changed, and the bundle is not finished.`,
      { path: key },
    );
  const content = await recordsOf(state).open(key);
  if (content?.size !== size) {
    await content?.close();
    throw wrong();
  }
  const hash = createHash('sha256');
  try {
    for (let at = 0; at < size; ) {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
      const read = await content.read(buffer, at);
      const piece = buffer.subarray(0, read);
      hash.update(piece);
      at += read;
      if (read === 0 || (at === size && hash.digest('hex') !== sha256)) throw wrong();
      yield piece;
    }
  } finally {
    await content.close();
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
