import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { writeFileAtomically } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere } from '../files/read-if-there.ts';
import { encodePem } from '../formats/asn1/armor.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { isOrigin } from '../formats/records/countersignature.ts';
import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { Snapshot } from '../formats/records/snapshot.ts';
import {
  makeSnapshotKey,
  readSnapshotKey,
  type SnapshotKey,
  signSnapshot,
} from '../signing/keys/snapshot-key.ts';
import { channelHistory, channelNames, moveChannel, nextCounter, readChannel } from '../store/channels.ts';
import { type Act, recordAct } from '../store/log.ts';
import { readCheckpoint } from '../store/log-files.ts';
import { recordIngest } from '../store/provenance.ts';
import { type IncomingFile, storeRelease } from '../store/release-store.ts';
import { openExistingState, openState } from '../store/state.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import type { Anchors } from '../trust/anchors.ts';
import { fingerprint } from '../trust/chain.ts';
import { type JudgedTree, judgeTree, readAllAnchors } from '../trust/judge-tree.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { DEFAULT_POLICY_FILE, readPolicyFile } from '../trust/policy-file.ts';
import { signerFingerprints, signersOf } from '../trust/record-signers.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import type { LoadedRelease } from '../trust/verified-release.ts';
import { checkpointSigner, logAct } from './log-act.ts';
import { type GateRow, runGate } from './publish-gate.ts';

const DAY = 86_400_000;
/** Days that a snapshot lives. A mirror that stops following its upstream is found out after so many. */
export const SNAPSHOT_DAYS = 7;

export interface ChannelRequest {
  readonly channel: string;
  /** The STATE folder. */
  readonly state: string;
  /** A folder of the shape that `init` makes; default: the state's own, made when it is first needed. */
  readonly snapshotKey?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Overrides the snapshot key's modulus length where one is made. */
  readonly rsaBits?: number;
}

export interface PublishRequest extends ChannelRequest {
  readonly tree: string;
  readonly anchors: string;
  /** Anchors of other CAs whose loaders shall start the release too, while a CA is being replaced. */
  readonly otherAnchors?: readonly string[];
  /** Where the tree was fetched from, if somebody else sealed it: its seals are then never replaced. */
  readonly origin?: string;
  /** A policy file (TOML). */
  readonly policy?: string;
  /** Asks every gate and changes nothing. */
  readonly dryRun?: boolean;
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

export interface PublishResult {
  readonly verdict: JudgedTree;
  readonly gates: readonly GateRow[];
  /** Undefined: it was published, or would be. */
  readonly refusal: Refusal | undefined;
  /** Undefined where nothing was published. */
  readonly moved: MovedChannel | undefined;
}

export interface MovedChannel {
  readonly snapshot: Snapshot;
  readonly signer: Certificate;
  /** SHA-256 of the snapshot key's certificate, lower-case hex: what readers compare. */
  readonly fingerprint: string;
  /** True where the key was made for it just now. */
  readonly madeKey: boolean;
}

/** The one way of a release to its machines. Nothing changes unless every gate said yes. */
export async function publish(request: PublishRequest): Promise<PublishResult> {
  const { tree, channel, now } = request;
  demandChannelName(channel);
  if (request.origin !== undefined) demandOrigin(request.origin);
  const { anchors, others } = await readAllAnchors(request.anchors, request.otherAnchors);
  const file = request.policy === undefined ? DEFAULT_POLICY_FILE : await readPolicyFile(request.policy);
  const policy = file.at(now, now);
  const judge = () =>
    judgeTree(tree, anchors, {
      policy,
      now,
      others,
      ...(request.onProgress ? { onProgress: request.onProgress } : {}),
    });
  const ask = async (verdict: JudgedTree) =>
    runGate({
      tree,
      anchors,
      others,
      verdict,
      policy,
      rules: file.publish,
      highest: await highestOf(request),
      now,
    });
  if (request.dryRun) {
    const verdict = await judge();
    if (verdict.manifest) await demandNotWithdrawn(request.state, verdict.manifest.release);
    const { rows, refusal } = await ask(verdict);
    return { verdict, gates: rows, refusal, moved: undefined };
  }
  // Before a tree is read: what has no key would be found out at the very end.
  await demandSnapshotKey(request, 'publish');
  const state = await openState(request.state);
  try {
    const verdict = await judge();
    const { rows, refusal, pinned } = await ask(verdict);
    if (refusal || !pinned) {
      const { manifest, manifestSha256 } = verdict;
      await logRefusal(request, refusal, {
        release: manifest?.release,
        manifest: manifestSha256 || undefined,
        serial: manifest?.serial,
      });
      return { verdict, gates: rows, refusal, moved: undefined };
    }
    const facts = snapshotFacts(pinned);
    const moved = await onRecord(request, facts, async () => {
      await demandNotWithdrawn(state.folder, pinned.release);
      await recordOrigin(request, pinned, anchors, verdict.small);
      await storeRelease(state.folder, pinned.release, incoming(tree, verdict), verdict.small, now);
      return move(request, 'publish', facts, verdict.small, request.origin);
    });
    return { verdict, gates: rows, refusal: undefined, moved };
  } finally {
    await state.release();
  }
}

/** A new snapshot of what the channel already names: needs the snapshot key and no other. */
export async function renewChannel(request: ChannelRequest): Promise<MovedChannel> {
  demandChannelName(request.channel);
  const state = await openExistingState(request.state);
  try {
    return await onRecord(request, {}, async () => {
      const { snapshot } = await demandChannel(request);
      const { release, serial, manifest, bestBefore } = snapshot;
      return move(request, 'renew', { release, serial, manifest, bestBefore });
    });
  } finally {
    await state.release();
  }
}

export interface RollbackRequest extends ChannelRequest {
  /** `arch/2026.11.01`: published before. */
  readonly release: string;
  readonly anchors: string;
  readonly otherAnchors?: readonly string[];
}

/** Goes back, on purpose and on record: a snapshot with a higher counter that names an older release. */
export async function rollbackChannel(request: RollbackRequest): Promise<MovedChannel> {
  const { release, now } = request;
  demandChannelName(request.channel);
  const state = await openExistingState(request.state);
  try {
    return await onRecord(request, { release }, async () => {
      const { snapshot } = await demandChannel(request);
      await demandSnapshotKey(request, 'rollback');
      if (snapshot.release === release) {
        throw new UsageError(`${request.channel} is at ${release} already.`);
      }
      const tree = join(state.folder, 'releases', release);
      if (!isReleaseId(release) || !(await isThere(join(tree, RECORD.manifest))))
        throw new UsageError(`${release} was never published to ${request.state}.`);
      await demandNotWithdrawn(state.folder, release);
      const { anchors, others } = await readAllAnchors(request.anchors, request.otherAnchors);
      const verdict = await judgeTree(tree, anchors, { policy: defaultPolicy(now), now, others });
      const { manifest, manifestSha256, refusal } = verdict;
      if (refusal) throw refusal;
      if (!manifest) throw new Refusal('no-verdict', `Nothing vouches for ${release}.`, { release });
      const facts = snapshotFacts({ release, manifest, manifestSha256 });
      return await move(request, 'rollback', { ...facts, rollbackFrom: snapshot.release }, verdict.small);
    });
  } finally {
    await state.release();
  }
}

export function demandChannelName(channel: string): void {
  if (isChannelName(channel)) return;
  throw new UsageError(
    `${JSON.stringify(channel)} is no name for a channel: small letters, digits, dots, dashes and underscores.`,
  );
}

/** An address that a record of provenance can hold. */
export function demandOrigin(origin: string): void {
  if (isOrigin(origin)) return;
  throw new UsageError(`${JSON.stringify(origin)} is no origin; write http://… or https://….`);
}

/** Before the release is there: were this lost, a fetched one would count as ours, and be signed anew. */
async function recordOrigin(
  { state, origin = 'local', now }: PublishRequest,
  { release, manifestSha256 }: LoadedRelease,
  anchors: Anchors,
  small: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  if (await isThere(join(state, 'releases', release))) return;
  const signers = signerFingerprints(signersOf(small, anchors, []));
  await recordIngest(state, release, { time: now, origin, manifest: manifestSha256, signers });
}

/** What is refused on the way is logged too, as far as the log can be written: it may be what was refused. */
async function onRecord<T>(request: ChannelRequest, facts: RefusedFacts, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) await logRefusal(request, error, facts).catch(() => {});
    throw error;
  }
}

type RefusedFacts = Pick<Act, 'release' | 'manifest' | 'serial'>;

async function logRefusal(
  { state, channel, now, snapshotKey: folder }: ChannelRequest,
  refusal: Refusal | undefined,
  { release, manifest, serial }: RefusedFacts,
): Promise<void> {
  await logAct(state, { time: now, act: 'refuse', channel, release, manifest, serial, refusal }, folder);
}

type SnapshotFacts = Pick<Snapshot, 'release' | 'serial' | 'manifest' | 'bestBefore'> &
  Partial<Pick<Snapshot, 'rollbackFrom'>>;

function snapshotFacts({
  manifest,
  manifestSha256,
}: Pick<LoadedRelease, 'release' | 'manifest' | 'manifestSha256'>): SnapshotFacts {
  const { release, serial, bestBefore } = manifest;
  return { release, serial, manifest: manifestSha256, bestBefore };
}

/**
 * Signs the next snapshot of a channel and makes it the current one. The state folder is ours while we do.
 *
 * @param seals every script, record and seal of the release, where they were verified for this.
 */
async function move(
  request: ChannelRequest,
  act: 'publish' | 'renew' | 'rollback',
  facts: SnapshotFacts,
  seals?: ReadonlyMap<string, Uint8Array>,
  origin?: string,
): Promise<MovedChannel> {
  const { channel, state, now } = request;
  await demandNotWithdrawn(state, facts.release);
  const { key, made } = await snapshotKey(request, act);
  const before = await readChannel(state, channel);
  if (before) {
    // A channel that another key signs is not ours to move, unless ours took that key's place; its age does not matter here.
    const { bytes, seal, snapshot } = before;
    await verifySnapshot(channel, bytes, seal, key.accepted, defaultPolicy(now), snapshot.issued);
  }
  // The state tells its own readers, the server first, which keys move its channels.
  const anchors = key.accepted.map(({ raw }) => encodePem('CERTIFICATE', raw)).join('');
  await makeFolders(join(state, 'anchors'));
  await writeFileAtomically(join(state, 'anchors', 'snapshot.crt'), Buffer.from(anchors));
  const issued = Math.floor(now / 1000) * 1000;
  const snapshot: Snapshot = {
    channel,
    counter: await nextCounter(state, channel),
    issued,
    expires: issued + SNAPSHOT_DAYS * DAY,
    ...facts,
    rollbackFrom: facts.rollbackFrom,
  };
  const { bytes, seal } = await signSnapshot(snapshot, key);
  const { release, serial, manifest, counter, rollbackFrom } = snapshot;
  const signers = [fingerprint(key.certificate)];
  // Before the channel moves: a crash may leave an entry whose act never was, and never an act without its entry.
  await recordAct(
    state,
    { time: now, act, channel, release, manifest, serial, counter, rollbackFrom, origin, seals, signers },
    checkpointSigner(key),
  );
  await moveChannel(state, { snapshot, bytes, seal });
  return { snapshot, signer: key.certificate, fingerprint: fingerprint(key.certificate), madeKey: made };
}

async function snapshotKey(
  request: ChannelRequest,
  act: Act['act'],
): Promise<{ key: SnapshotKey; made: boolean }> {
  const { snapshotKey: folder, state, now, rsaBits } = request;
  if (await demandSnapshotKey(request, act)) {
    return { key: await readSnapshotKey(folder ?? state), made: false };
  }
  return { key: await makeSnapshotKey(state, 'state', now, rsaBits), made: true };
}

/**
 * True where there is a key; false where one is made for the first publish of a state. Only that makes one: where anything
 * was signed before, its key is elsewhere, and a new one would fit nothing. Throws a `UsageError`.
 */
async function demandSnapshotKey(
  { snapshotKey: folder, state }: ChannelRequest,
  act: Act['act'],
): Promise<boolean> {
  if (folder !== undefined || (await isThere(join(state, 'private', 'snapshot.key')))) return true;
  const first =
    act === 'publish' && (await channelNames(state)).length === 0 && !(await readCheckpoint(state));
  if (first) return false;
  throw new UsageError(
    `${state} has no snapshot key of its own: name the folder of the one that signs its channels with --snapshot-key.`,
  );
}

async function demandChannel({ state, channel }: ChannelRequest) {
  const current = await readChannel(state, channel);
  if (current) return current;
  throw new UsageError(`There is no channel ${channel} in ${state}.`);
}

async function highestOf({ state, channel }: ChannelRequest) {
  const history = await channelHistory(state, channel);
  const [highest] = history.map(({ snapshot }) => snapshot).sort((a, b) => b.serial - a.serial);
  return highest && { release: highest.release, serial: highest.serial };
}

function incoming(tree: string, { rows, small }: JudgedTree): IncomingFile[] {
  return rows.flatMap(({ path, verified }) =>
    verified && !small.has(path) ? [{ path, verified, source: join(tree, path) }] : [],
  );
}
