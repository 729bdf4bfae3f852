import { basename, dirname } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { readBeneath } from '../files/beneath.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { statIfThere } from '../files/read-if-there.ts';
import type { Tree } from '../files/tree.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { type ChannelOptions, demandChannelName } from '../publish/channel-move.ts';
import { logActs } from '../publish/log-act.ts';
import { type PublishResult, publish } from '../publish/publish.ts';
import { keepPromotion, readPromotions } from '../store/promotions.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { demandState, openExistingState } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import type { PolicyFile, PromoteRules } from '../trust/policy-file.ts';
import { promotedBy } from '../trust/promotion-check.ts';
import { type AnchorFolders, fittingRoots, readTrustRoots, type TrustRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';

export interface PromoteOptions extends ChannelOptions {
  /** A sealed tree as a build left it, or `NAME/VERSION` of a release that the state holds. */
  readonly target: string;
  /** What the build's seals must lead to. */
  readonly anchors: AnchorFolders;
  /** Files: OpenPGP, detached, over `release.manifest`; of one person each. */
  readonly signatures: readonly string[];
  readonly onProgress?: (path: string, bytes: number, size: number) => void;
}

/** Somebody who stands by a release. */
export interface Promoter {
  /** Of the certificate, lower-case hex. */
  readonly fingerprint: string;
  /** What it says of its holder; the first user ID. */
  readonly name: string;
}

export interface PromoteResult {
  readonly release: string;
  /** SHA-256 of the manifest that they signed, lower-case hex. */
  readonly manifest: string;
  /** All who stand by it by now. */
  readonly promoters: readonly Promoter[];
  /** So many have to. */
  readonly least: number;
  /** Undefined where others have to sign yet. */
  readonly published: PublishResult | undefined;
}

/** Bytes of a signature. */
const MAX_SIGNATURE = 64 * 1024;

/**
 * Takes what people say of a release that a build has sealed, keeps it beside the build's own seals, and publishes the
 * release once as many stand by it as the state's policy wants for this channel.
 *
 * @throws UsageError where the policy names no people for the channel; a `Refusal` where the build's seals or a person's
 *   signature do not hold: nothing is kept then; IoError.
 */
export async function promote(options: PromoteOptions): Promise<PromoteResult> {
  const { state, channel, now, anchors, signatures, snapshotKey } = options;
  demandChannelName(channel);
  await demandState(state);
  const policy = await policyFor(state);
  const rules = rulesFor(policy, state, channel);
  const roots = await readTrustRoots(anchors);
  demandOthers(rules, roots, state);
  const tree = await treeOf(options);
  // 1. People stand by what the build signed, and by nothing else.
  const verifier = new Verifier(await fittingRoots(tree, roots), policy, () => now);
  const { manifest, manifestSha256, records, refusal } = await verifier.verifyRecords(tree);
  const bytes = records.get(RECORD.manifest);
  if (refusal || !manifest || !bytes)
    throw refusal ?? new Refusal('no-verdict', `Nothing vouches for ${options.target}.`, {});
  const { release, serial } = manifest;
  await demandNotWithdrawn(state, release);
  // 2. Each signature is one of theirs, over this manifest.
  const given = new Map<string, Uint8Array>();
  for (const path of signatures) {
    const { bytes: seal } = await readBeneath(dirname(path), basename(path), MAX_SIGNATURE);
    try {
      given.set(await promotedBy(path, bytes, seal, rules, policy.at(now, now), now), seal);
    } catch (error) {
      if (!(error instanceof Refusal && error.code === 'bad-signature')) throw error;
      const why = `${path} is not over the release.manifest of ${release} as it is here: have its person sign that file.`;
      throw new Refusal('bad-signature', why, { ...error.facts, release });
    }
  }
  // 3. Kept, on record.
  if (given.size > 0) {
    const opened = await openExistingState(state);
    try {
      await policyFor(state, undefined, policy);
      const signers = [...given.keys()];
      const facts = { channel, release, manifest: manifestSha256, serial, signers };
      await logActs(state, [{ time: now, act: 'promote', ...facts }], snapshotKey);
      // Who stands by it already goes on with the first; one whose signature has ended would count never more.
      const standing = await promotersOf(state, release, manifestSha256, bytes, rules, policy, now);
      for (const [person, seal] of given) {
        if (standing.some(({ fingerprint }) => fingerprint === person)) continue;
        await keepPromotion(state, release, manifestSha256, person, seal);
      }
    } finally {
      await opened.release();
    }
  }
  const promoters = await promotersOf(state, release, manifestSha256, bytes, rules, policy, now);
  const found = { release, manifest: manifestSha256, promoters, least: rules.least };
  if (promoters.length < rules.least) return { ...found, published: undefined };
  return { ...found, published: await publish({ ...options, tree }) };
}

function rulesFor({ promote: rules }: PolicyFile, state: string, channel: string): PromoteRules {
  if (rules?.channels.includes(channel)) return rules;
  throw new UsageError(
    `The policy of ${state} names no people for ${channel}: write [promote] with channels, least and people, and "bootseal policy set".`,
  );
}

/** A key that builds sign with is nobody who looked at what was built. */
function demandOthers({ people }: PromoteRules, { own, others }: TrustRoots, state: string): void {
  const building = [own, ...others].flatMap(({ openpgp }) => Object.values(openpgp).flat());
  const keys = new Set(
    building
      .flatMap((one) => [one.primary, ...one.keys.map(({ key }) => key)])
      .map(({ fingerprint }) => fingerprint),
  );
  const same = people.find((one) =>
    [one.primary, ...one.keys.map(({ key }) => key)].some(({ fingerprint }) => keys.has(fingerprint)),
  );
  if (same)
    throw new UsageError(
      `The policy of ${state} counts ${same.primary.fingerprint} among its people, and builds are sealed with that key.`,
    );
}

async function treeOf({ target, state, onProgress }: PromoteOptions): Promise<Tree> {
  const options = onProgress ? { onProgress } : {};
  if ((await statIfThere(target))?.isDirectory()) return new FolderTree(target, options);
  const shelf = shelfOf(state);
  if (isReleaseId(target) && (await shelf.has(target))) return shelf.tree(target, options);
  throw new UsageError(`${target} is neither a folder nor a release that ${state} holds.`);
}

async function promotersOf(
  state: string,
  release: string,
  sha256: string,
  manifest: Uint8Array,
  rules: PromoteRules,
  policy: PolicyFile,
  now: number,
): Promise<Promoter[]> {
  const found = new Map<string, Promoter>();
  for (const seal of await readPromotions(state, release, sha256)) {
    try {
      const fingerprint = await promotedBy(release, manifest, seal, rules, policy.at(now, now), now);
      const person = rules.people.find(({ primary }) => primary.fingerprint === fingerprint);
      found.set(fingerprint, { fingerprint, name: person?.userIds[0] ?? '' });
    } catch (error) {
      // Who has left, or whose key has ended, counts no more.
      if (!(error instanceof Refusal)) throw error;
    }
  }
  return [...found.values()];
}
