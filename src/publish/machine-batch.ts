import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { eachAtOnce, oneByOne } from '../files/at-once.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { decodeManifest } from '../formats/records/manifest.ts';
import { decodeScriptBatch, encodeScriptBatch } from '../formats/records/script-batch.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { ChannelRelease } from '../formats/records/snapshot.ts';
import { startsOf } from '../machines/assignment.ts';
import {
  type BatchFacts,
  type BatchRelease,
  batchLines,
  type CompiledScript,
  compileBatch,
} from '../machines/compile-batch.ts';
import { readMachineRules } from '../machines/machine-files.ts';
import { encodeRules } from '../machines/machine-record.ts';
import { hasRules, type MachineRules } from '../machines/machine-rules.ts';
import { sealedAddress } from '../scripts/sealed-address.ts';
import { type ScriptKeys, sealScript } from '../signing/keys/script-keys.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { findSealed, keepBatch, keepSealed, readBatch } from '../store/script-batches.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { machineFilesOf } from '../store/state-machines.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import { decodeOr } from '../trust/check.ts';
import { type MachineScript, verifyMachineScript } from '../trust/machine-script-check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { fittingRoots, type TrustRoots } from '../trust/trust-roots.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { Verifier } from '../trust/verifier.ts';

/** Milliseconds: a seal that ends sooner is made anew, where its key is at hand. */
const SOON = 12 * 3_600_000;

/** Scripts that are looked for, sealed and kept at a time. */
const AT_ONCE = 16;

export interface BatchOptions {
  /** The STATE folder. */
  readonly state: string;
  readonly channel: string;
  readonly roots: TrustRoots;
  readonly policy: PolicyFile;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** What a script's release is, before anything of it need be in the state. */
export interface NamedRelease {
  readonly release: string;
  /** Of its manifest, lower-case hex. */
  readonly manifestSha256: string;
  /** Its records as they were verified; undefined: those of the state are, now. */
  readonly records?: ReadonlyMap<string, Uint8Array>;
}

/**
 * The facts that the scripts of a channel are compiled from. Undefined where nobody wrote anything about machines: each
 * then boots the releases' own.
 *
 * @param named what the channel names, one for each architecture.
 * @throws UsageError for files of machines with a fault; Refusal, IoError.
 */
export async function batchFacts(
  options: BatchOptions,
  named: readonly NamedRelease[],
): Promise<BatchFacts | undefined> {
  const { state, channel, roots } = options;
  const rules = await readMachineRules(machineFilesOf(state));
  if (!hasRules(rules)) return undefined;
  const releases: BatchRelease[] = [];
  for (const one of named) releases.push(await releaseFacts(options, one));
  const pinned = new Map<string, BatchRelease>();
  for (const release of pinnedOf(rules)) {
    await demandNotWithdrawn(state, release);
    const own = releases.find(({ manifest }) => manifest.release === release);
    pinned.set(release, own ?? (await releaseFacts(options, { release, manifestSha256: '' })));
  }
  const { bootSigner } = roots.own;
  if (bootSigner === undefined)
    throw new UsageError('The anchors hold no boot.crt, so no script can be verified.');
  const channels = [...new Set([...(await channelNames(state)), channel])].sort();
  return { channel, rules, releases, pinned, channels, bootSigner };
}

function pinnedOf({ machines, groups, unknown }: MachineRules): Set<string> {
  const all = [...machines.map(({ gets }) => gets), ...groups.map(({ gets }) => gets), unknown];
  return new Set(all.flatMap((gets) => gets?.release ?? []));
}

/** A release's records are enough: what a script starts, its loader verifies once more. */
async function releaseFacts(
  { state, roots, policy, now }: BatchOptions,
  { release, manifestSha256, records }: NamedRelease,
): Promise<BatchRelease> {
  const tree = shelfOf(state).tree(release);
  const found = records
    ? { records, manifestSha256, manifest: undefined, refusal: undefined }
    : await new Verifier(await fittingRoots(tree, roots), policy, () => now).verifyRecords(tree);
  const manifest = found.manifest ?? (records && manifestOf(records));
  if (found.refusal || !manifest)
    throw found.refusal ?? new Refusal('no-verdict', `Nothing vouches for ${release}.`, { release });
  if (manifestSha256 !== '' && found.manifestSha256 !== manifestSha256)
    throw new Refusal('mixed-releases', `${release} in the state is not the one that its channel names.`, {
      release,
    });
  const address = sealedAddress(found.records.get(RECORD.bootIpxe), found.records.get(RECORD.grubCfg));
  return { manifest, manifestSha256: found.manifestSha256, address };
}

function manifestOf(records: ReadonlyMap<string, Uint8Array>) {
  const bytes = records.get(RECORD.manifest);
  return bytes && decodeOr(RECORD.manifest, () => decodeManifest(bytes));
}

/**
 * Prepares the scripts of what a channel names from now on.
 *
 * @param moved the release that it moves to, as it was verified; the state may not hold it yet.
 * @returns the batch's SHA-256; undefined where nobody wrote anything about machines.
 * @throws as `batchFacts` and `prepareBatch`.
 */
export function batchFor(
  options: BatchOptions & { readonly keys: ScriptKeys | undefined },
  moved?: Pick<VerifiedRelease, 'manifestSha256' | 'records'>,
): (releases: readonly ChannelRelease[]) => Promise<string | undefined> {
  return async (releases) => {
    const facts = await batchFacts(options, namedOf(releases, moved));
    return facts && (await prepareBatch(options, facts, options.keys)).sha256;
  };
}

/**
 * Throws what `batchFor` would throw, and signs and keeps nothing.
 *
 * @throws UsageError, Refusal, IoError
 */
export async function checkBatch(
  options: BatchOptions & { readonly keys: ScriptKeys | undefined },
  releases: readonly ChannelRelease[],
  moved: Pick<VerifiedRelease, 'manifestSha256' | 'records'>,
): Promise<void> {
  const facts = await batchFacts(options, namedOf(releases, moved));
  if (!facts) return;
  const scripts = compileBatch(facts);
  if (options.keys) return;
  const waiting: CompiledScript[] = [];
  for (const script of scripts) {
    const found = await findSealed(recordsOf(options.state), script.loader, script.sha256);
    if (!found || !(await holds(options, facts, script, found.seal, 0))) waiting.push(script);
  }
  if (waiting.length > 0) throw unsigned(options.channel, waiting, scripts.length);
}

function namedOf(
  releases: readonly ChannelRelease[],
  moved: Pick<VerifiedRelease, 'manifestSha256' | 'records'> | undefined,
): NamedRelease[] {
  return releases.map(({ release, manifest }) => ({
    release,
    manifestSha256: manifest,
    ...(moved?.manifestSha256 === manifest ? { records: moved.records } : {}),
  }));
}

/** How a channel's scripts came by their seals. */
export interface PreparedBatch {
  /** Of the batch, lower-case hex: what the snapshot names. */
  readonly sha256: string;
  readonly scripts: number;
  /** Of those, the ones that were signed just now. */
  readonly signed: number;
}

/**
 * Compiles the scripts of a channel's machines, gives those a seal that have none, and keeps all of them: nothing counts
 * before a snapshot names the batch. The state is the caller's.
 *
 * @param keys who signs; undefined: every script must have been signed before.
 * @throws UsageError where scripts wait for a signature; Refusal for one that cannot be made or verified; IoError.
 */
export async function prepareBatch(
  options: BatchOptions,
  facts: BatchFacts,
  keys: ScriptKeys | undefined,
): Promise<PreparedBatch> {
  const { state, channel, now } = options;
  const records = recordsOf(state);
  const scripts = compileBatch(facts);
  // A device answers one at a time. The disk is asked about many at once: it would be waited for after each.
  const areAtHand = [keys?.boot, keys?.script?.signer].every((signer) => signer?.atHand ?? true);
  const inTurn = areAtHand ? <Answer>(work: () => Promise<Answer>) => work() : oneByOne();
  const outcomes = await eachAtOnce(scripts, AT_ONCE, async (script) => {
    const found = await findSealed(records, script.loader, script.sha256);
    if (found && (await holds(options, facts, script, found.seal, keys ? SOON : 0))) return 'held';
    const seal = keys && (await inTurn(() => sealScript(keys, script.loader, script.bytes, now)));
    if (!seal) return 'waits';
    await verifyMachineScript(
      toVerify(facts, script, seal),
      options.roots.own,
      options.policy.at(now, now),
      now,
    );
    await keepSealed(records, script.loader, script.sha256, { bytes: script.bytes, seal });
    return 'signed';
  });
  const waiting = scripts.filter((_, at) => outcomes[at] === 'waits');
  if (waiting.length > 0) throw unsigned(channel, waiting, scripts.length);
  const signed = outcomes.filter((outcome) => outcome === 'signed').length;
  const rules = encodeRules(facts.rules);
  const since = await sinceOf(options, sha256Of(rules));
  const batch = encodeScriptBatch({ channel, since, rules: sha256Of(rules), scripts: batchLines(scripts) });
  return { sha256: await keepBatch(records, batch, rules), scripts: scripts.length, signed };
}

/** Rules that are the newest already keep their time; all others are newer than every one that counts now. */
async function sinceOf({ state, now }: BatchOptions, rules: string): Promise<number> {
  let newest: { readonly since: number; readonly rules: string } | undefined;
  for (const name of await channelNames(state)) {
    const { snapshot } = (await readChannel(state, name)) ?? {};
    if (snapshot?.scripts === undefined) continue;
    const bytes = await readBatch(recordsOf(state), snapshot.scripts).catch((error: unknown) => {
      // One that was lost boots nobody, and is what this act may put right.
      if (error instanceof Refusal) return undefined;
      throw error;
    });
    const batch = bytes && decodeOr(`the batch of scripts of ${name}`, () => decodeScriptBatch(bytes));
    if (batch && (newest === undefined || batch.since > newest.since)) newest = batch;
  }
  if (newest?.rules === rules) return newest.since;
  return Math.max(Math.floor(now / 1000) * 1000, (newest?.since ?? 0) + 1000);
}

/** A seal counts where a loader takes it now, and will for as long. */
async function holds(
  { roots, policy, now }: BatchOptions,
  facts: BatchFacts,
  script: CompiledScript,
  seal: Uint8Array,
  longer: number,
): Promise<boolean> {
  try {
    await verifyMachineScript(toVerify(facts, script, seal), roots.own, policy.at(now, now), now);
    return script.loader === 'grub' || longer === 0 || endOf(seal) > now + longer;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

function endOf(seal: Uint8Array): number {
  const { certificates } = decodeOr('the seal', () => decodeDetachedCms(seal));
  return Math.min(...certificates.map(({ notAfter }) => notAfter));
}

export function toVerify(
  { releases, pinned }: BatchFacts,
  { loader, bytes, release, planned }: CompiledScript,
  seal: Uint8Array,
): MachineScript {
  const { boot } = planned.assignment;
  if (boot !== 'release') return { loader, bytes, seal, starts: startsOf(boot) };
  const starts = [...releases, ...pinned.values()].find(({ manifest }) => manifest.release === release);
  if (!starts) throw new RangeError('a script is of a release that is known');
  return { loader, bytes, seal, starts };
}

function unsigned(channel: string, waiting: readonly CompiledScript[], all: number): UsageError {
  const kinds = (['ipxe', 'grub'] as const)
    .filter((kind) => waiting.some(({ loader }) => loader === kind))
    .map((kind) => (kind === 'ipxe' ? 'iPXE' : 'GRUB'))
    .join(' and ');
  return new UsageError(
    `${waiting.length} of the ${all} scripts that machines get of ${channel} are not signed (for ${kinds}): sign them here with --script-keys DIR, or where the keys are by "bootseal machines request"; until then machines boot what they did before.`,
  );
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
