import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { encodePem } from '../formats/asn1/armor.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { isChannelName } from '../formats/records/safe-path.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { type ChannelRelease, type Snapshot, withReleases } from '../formats/records/snapshot.ts';
import type { ScriptKeys } from '../signing/keys/script-keys.ts';
import {
  makeSnapshotKey,
  readSnapshotKey,
  type SnapshotKey,
  signSnapshot,
} from '../signing/keys/snapshot-key.ts';
import {
  channelHistory,
  channelNames,
  moveChannel,
  movedMeanwhile,
  nextCounter,
  readChannel,
  type StoredSnapshot,
} from '../store/channels.ts';
import { type Act, recordAct } from '../store/log.ts';
import { readCheckpoint } from '../store/log-files.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { writeSnapshotAnchors } from '../store/state-anchors.ts';
import { demandHoldsKeys, holdsSnapshotKey } from '../store/state-keys.ts';
import { policyFor } from '../store/state-policy.ts';
import { readManifestOf } from '../store/stored-manifest.ts';
import { markWebBehind, refreshWeb } from '../store/web-folder.ts';
import {
  demandNotWithdrawn,
  type Withdrawal,
  withdrawnReason,
  withdrawnRefusal,
} from '../store/withdrawals.ts';
import { fingerprint } from '../trust/chain.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { checkpointSigner, logAct } from './log-act.ts';
import { demandPromoted } from './promotion.ts';

const DAY = 86_400_000;
/** Days that a snapshot lives. A mirror that stops following its upstream is found out after so many. */
export const SNAPSHOT_DAYS = 7;

export interface ChannelOptions {
  readonly channel: string;
  /** The STATE folder. */
  readonly state: string;
  /** A folder of the shape that `init` makes, or the key itself, where a process holds it; default: the state's own. */
  readonly snapshotKey?: string | SnapshotKey;
  /** Who signs the scripts that machines get by name; undefined: those are taken that were signed before. */
  readonly scriptKeys?: ScriptKeys | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface MovedChannel {
  readonly snapshot: Snapshot;
  readonly signer: Certificate;
  /** SHA-256 of the snapshot key's certificate, lower-case hex: what readers compare. */
  readonly fingerprint: string;
  /** True where the key was made for it just now. */
  readonly madeKey: boolean;
  /** What the operator should know, though the channel moved. */
  readonly warnings: readonly string[];
}

/** What a snapshot says of a release, which was not turned away from another. */
export function snapshotFacts({ release, manifest, manifestSha256 }: VerifiedRelease): ChannelRelease {
  const { arch, serial, bestBefore } = manifest;
  return { arch, release, serial, manifest: manifestSha256, bestBefore, rollbackFrom: undefined };
}

/** @throws UsageError */
export function demandChannelName(channel: string): void {
  if (isChannelName(channel)) return;
  throw new UsageError(
    `${JSON.stringify(channel)} is no name for a channel: small letters, digits, dots, dashes and underscores.`,
  );
}

/** The current snapshot of a channel that must be there, unverified. @throws UsageError, IoError */
export async function demandChannel({
  state,
  channel,
}: Pick<ChannelOptions, 'state' | 'channel'>): Promise<StoredSnapshot> {
  const current = await readChannel(state, channel);
  if (current) return current;
  throw new UsageError(`There is no channel ${channel} in ${state}.`);
}

export interface Move {
  readonly act: 'publish' | 'renew' | 'rollback' | 'apply';
  /**
   * Prepares the scripts that machines get of what the channel names from now on; answers the batch's SHA-256, undefined
   * for none. Absent: those that it has.
   */
  readonly batch?: ((releases: readonly ChannelRelease[]) => Promise<string | undefined>) | undefined;
  /** What the channel names from now on for its architecture; undefined: what it names already. */
  readonly facts: ChannelRelease | undefined;
  /**
   * The counter that the channel was at when it was asked whether it may move (`channelStandsAt`): it moves from no other.
   * Undefined: nothing was asked of it before.
   */
  readonly follows?: number;
  /** Every script, record and seal of the release, where they were verified for this. */
  readonly seals?: ReadonlyMap<string, Uint8Array>;
  readonly origin?: string | undefined;
  readonly warnings?: readonly string[];
  /** Makes the snapshot key where the state has none, with an RSA modulus of so many bits; false: never. */
  readonly makeKey: false | { readonly rsaBits?: number };
}

/** Signs the next snapshot of a channel and makes it the current one. The state is ours while we do (`openState`). */
export async function move(options: ChannelOptions, wanted: Move): Promise<MovedChannel> {
  const { channel, state, now } = options;
  const { act, facts, seals, origin } = wanted;
  if (facts) {
    await demandNotWithdrawn(state, facts.release);
    const manifest =
      seals?.get(RECORD.manifest) ?? (await readManifestOf(shelfOf(state).tree(facts.release)));
    const policy = await policyFor(state);
    await demandPromoted(state, channel, facts.release, manifest ?? new Uint8Array(), policy, now);
  }
  const { key, made } = await snapshotKeyOf(options, wanted.makeKey);
  const before = await readChannel(state, channel);
  const follows = before?.snapshot.counter ?? 0;
  if (wanted.follows !== undefined && wanted.follows !== follows) throw movedMeanwhile(channel, follows);
  if (before) {
    // A channel that another key signs is not ours to move, unless ours took that key's place; its age does not matter here.
    const { bytes, seal, snapshot } = before;
    await verifySnapshot(channel, bytes, seal, key.accepted, defaultPolicy(now), snapshot.issued);
  }
  const { standing, warnings } = await standingReleases(state, before?.snapshot, facts);
  // The state tells its own readers, the server first, which keys move its channels.
  const anchors = key.accepted.map(({ raw }) => encodePem('CERTIFICATE', raw)).join('');
  await writeSnapshotAnchors(state, anchors);
  const issued = Math.floor(now / 1000) * 1000;
  const releases = withReleases(standing, facts ? [facts] : []);
  const scripts = wanted.batch ? await wanted.batch(releases) : before?.snapshot.scripts;
  const snapshot: Snapshot = {
    channel,
    counter: await nextCounter(state, channel),
    issued,
    expires: issued + SNAPSHOT_DAYS * DAY,
    ...(scripts === undefined ? {} : { scripts }),
    releases,
  };
  const { bytes, seal } = await signSnapshot(snapshot, key);
  const { counter } = snapshot;
  const signers = [fingerprint(key.certificate)];
  // Before the channel moves: a crash may leave an entry whose act never was, and never an act without its entry.
  for (const { release, manifest, serial, rollbackFrom } of facts ? [facts] : snapshot.releases) {
    await recordAct(
      state,
      { time: now, act, channel, release, manifest, serial, counter, rollbackFrom, origin, seals, signers },
      checkpointSigner(key),
    );
  }
  await markWebBehind(state);
  await moveChannel(state, { snapshot, bytes, seal }, follows);
  const web = await refreshWeb(state);
  return {
    snapshot,
    signer: key.certificate,
    fingerprint: fingerprint(key.certificate),
    madeKey: made,
    warnings: [...(wanted.warnings ?? []), ...warnings, ...web],
  };
}

/**
 * What a channel goes on naming for other architectures than the one that moves. A snapshot vouches for all that it
 * names, so one that was withdrawn meanwhile is left out, and a channel of nothing else is not renewed.
 */
export async function standingReleases(
  state: string,
  before: Snapshot | undefined,
  moved: Pick<ChannelRelease, 'arch'> | undefined,
): Promise<{ standing: readonly ChannelRelease[]; warnings: readonly string[] }> {
  const standing: ChannelRelease[] = [];
  const withdrawals: Withdrawal[] = [];
  const warnings: string[] = [];
  for (const one of before?.releases ?? []) {
    if (one.arch === moved?.arch) continue;
    const withdrawal = await withdrawnReason(state, one.release);
    if (!withdrawal) {
      standing.push({ ...one, rollbackFrom: undefined });
      continue;
    }
    withdrawals.push(withdrawal);
    warnings.push(`${one.release} is withdrawn: the channel names nothing for ${one.arch} any more`);
  }
  const [first] = withdrawals;
  if (first && !moved && standing.length === 0) throw withdrawnRefusal(first);
  return { standing, warnings };
}

async function snapshotKeyOf(
  options: ChannelOptions,
  makeKey: Move['makeKey'],
): Promise<{ key: SnapshotKey; made: boolean }> {
  const { snapshotKey: given, state, now } = options;
  if (typeof given === 'object') return { key: given, made: false };
  if (await demandSnapshotKey(options, makeKey !== false))
    return { key: await readSnapshotKey(given ?? state), made: false };
  const rsaBits = makeKey === false ? undefined : makeKey.rsaBits;
  return { key: await makeSnapshotKey(state, 'state', now, rsaBits), made: true };
}

/**
 * True where there is a key; false where one is to be made. Only the first publishing of a state makes one: where
 * anything was signed before, its key is elsewhere, and nobody who follows would take a new one.
 *
 * @throws UsageError
 */
export async function demandSnapshotKey(
  { snapshotKey: given, state }: ChannelOptions,
  mayMake: boolean,
): Promise<boolean> {
  if (given !== undefined || (await holdsSnapshotKey(state))) return true;
  demandHoldsKeys(state);
  if (mayMake && (await channelNames(state)).length === 0 && !(await readCheckpoint(state))) return false;
  throw new UsageError(
    `${state} has no snapshot key of its own: name the folder of the one that signs its channels with --snapshot-key.`,
  );
}

type RefusedFacts = Pick<Act, 'release' | 'manifest' | 'serial'>;

/** What is refused on the way is logged too, as far as the log can be written: it may be what was refused. */
export async function onRecord<T>(
  options: ChannelOptions,
  facts: RefusedFacts,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) await logRefusal(options, error, facts).catch(() => {});
    throw error;
  }
}

export async function logRefusal(
  { state, channel, now, snapshotKey }: ChannelOptions,
  refusal: Refusal | undefined,
  { release, manifest, serial }: RefusedFacts,
): Promise<void> {
  await logAct(state, { time: now, act: 'refuse', channel, release, manifest, serial, refusal }, snapshotKey);
}

/** The highest serial that a channel ever named for an architecture; undefined where it never named any. */
export async function highestOf(
  { state, channel }: Pick<ChannelOptions, 'state' | 'channel'>,
  arch: string | undefined,
): Promise<Pick<ChannelRelease, 'release' | 'serial'> | undefined> {
  const history = await channelHistory(state, channel);
  const [highest] = history
    .flatMap(({ snapshot }) => snapshot.releases.filter((one) => one.arch === arch))
    .sort((a, b) => b.serial - a.serial);
  return highest && { release: highest.release, serial: highest.serial };
}
