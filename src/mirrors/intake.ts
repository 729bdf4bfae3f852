import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import { decodeManifest, type Manifest } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { logActs } from '../publish/log-act.ts';
import { demandPromoted } from '../publish/promotion.ts';
import { demandVerified, runGate } from '../publish/publish-gate.ts';
import { MAX_RECORD } from '../store/backend.ts';
import { moveChannel } from '../store/channels.ts';
import { readProvenance, recordIngest, withIngest } from '../store/provenance.ts';
import { readQuarantined } from '../store/quarantine.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { openState } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import { readManifestOf } from '../store/stored-manifest.ts';
import { markWebBehind, refreshWeb } from '../store/web-folder.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import { decodeOr } from '../trust/check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { signerFingerprints, signersOf } from '../trust/record-signers.ts';
import { fittingRoots, type TrustRoots } from '../trust/trust-roots.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { Verifier } from '../trust/verifier.ts';
import {
  keepUpstreamBatch,
  type ReadRecord,
  readUpstreamBatch,
  type StartedRelease,
  type UpstreamBatch,
  verifyBatch,
} from './channel-scripts-intake.ts';
import { broughtAct, logRefused, movedActs, onRecord } from './intake-log.ts';
import type {
  IntakeRequest,
  IntakeResult,
  IntakeRow,
  IntakeTerms,
  JudgedTree,
  NamedRelease,
} from './intake-terms.ts';
import { demandNothingUndone } from './nothing-undone.ts';
import { demandFollows, type JudgedSnapshot, judgeSnapshot, tellFollows } from './upstream.ts';

/**
 * How releases of somebody else come into a state: pulled from a mirror, or out of a bundle that was carried there. What
 * they lie in is hostile; what they must lead to, the operator was given by other ways.
 */

/**
 * Verifies, asks the gate, stores, and moves the channel: all of it or nothing. Trees are judged before the state is
 * locked, and what may have changed meanwhile is asked again under the lock. What is refused is on record in the log.
 *
 * @throws UsageError for a state that moves its own channels; Refusal where the snapshot itself is refused; IoError.
 */
export async function takeIn(terms: IntakeTerms, request: IntakeRequest): Promise<IntakeResult> {
  const { state } = terms;
  const { snapshot: upstream, trees, readRecord } = request;
  if (upstream) await demandFollows(state, terms.snapshotSigners);
  const policy = await policyFor(state);
  return onRecord(terms, upstream?.channel, async () => {
    const snapshot = upstream && (await judgeSnapshot(terms, upstream));
    const batch = snapshot && (await batchOf(snapshot, readRecord));
    const judged = new Map<string, JudgedTree>();
    for (const named of namedReleases(trees.keys(), snapshot, batch)) {
      if (await holds(state, named)) continue;
      const tree = trees.get(named.release);
      judged.set(
        named.release,
        tree
          ? await judgeTree(terms, policy, tree, named, snapshot?.highest.get(named.arch ?? ''))
          : notThere(named),
      );
    }
    return takeJudged(terms, policy, { snapshot, batch, judged });
  });
}

/** What a channel's snapshot says of machines, where it says anything. */
export async function batchOf(
  { channel, snapshot: { scripts } }: JudgedSnapshot,
  read: ReadRecord | undefined,
): Promise<UpstreamBatch | undefined> {
  if (scripts === undefined) return undefined;
  if (!read)
    throw new Refusal(
      'absent',
      `The snapshot of ${channel} names scripts for machines, and none came along.`,
      {
        channel,
      },
    );
  return readUpstreamBatch(channel, scripts, read);
}

/** Every release that has to be there: what was brought, what the channel names, and what its scripts start beside that. */
export function namedReleases(
  brought: Iterable<string>,
  snapshot: JudgedSnapshot | undefined,
  batch: UpstreamBatch | undefined,
): NamedRelease[] {
  const named = new Map<string, NamedRelease>();
  for (const one of snapshot?.snapshot.releases ?? []) named.set(one.release, one);
  for (const [release, manifest] of batch?.kept ?? [])
    if (!named.has(release)) named.set(release, { release, manifest });
  for (const release of brought) if (!named.has(release)) named.set(release, { release });
  return [...named.values()];
}

/**
 * Whether the state holds this very release, whole; one of which only the name is known has to be judged. One that lost a
 * file, and bears a mark for it, is brought here once more: what it lost is put back.
 */
export async function holds(state: string, { release, manifest }: NamedRelease): Promise<boolean> {
  if (manifest === undefined || (await storedManifest(state, release)) !== manifest) return false;
  const mark = await readQuarantined(state, release);
  return !(mark?.held === true && mark.code === 'drifted');
}

async function storedManifest(state: string, release: string): Promise<string | undefined> {
  const bytes = await readManifestOf(shelfOf(state).tree(release));
  return bytes && createHash('sha256').update(bytes).digest('hex');
}

function notThere({ release }: NamedRelease): JudgedTree {
  const refusal = new Refusal('absent', `${release} is named, and neither held here nor brought along.`, {
    release,
  });
  return { release: undefined, refusal, gates: [], verdict: undefined };
}

/**
 * Judges one tree: every seal of every file, that it is what was named, and the gate.
 *
 * @param highest what the channel had before, for the gate.
 * @throws IoError.
 */
export async function judgeTree(
  { state, roots, now }: IntakeTerms,
  policy: PolicyFile,
  tree: Tree,
  named: NamedRelease,
  highest: { readonly release: string; readonly serial: number } | undefined,
): Promise<JudgedTree> {
  try {
    await demandNotWithdrawn(state, named.release);
    const verifier = new Verifier(await fittingRoots(tree, roots), policy, () => now);
    const verdict = await verifier.verify(tree);
    const { release } = verdict;
    if (release) demandNamed(release, named);
    // Whether it goes back was judged with the snapshot, which may say that it does so on purpose.
    const before = highest && release && release.manifest.serial > highest.serial ? highest : undefined;
    const { rows, refusal } = await runGate({ verdict, verifier, rules: policy.publish, highest: before });
    return { release: refusal ? undefined : release, gates: rows, refusal, verdict };
  } catch (error) {
    if (error instanceof Refusal)
      return { release: undefined, gates: [], refusal: error, verdict: undefined };
    throw error;
  }
}

/** Somebody else's release under this name, or another one of the same name. @throws Refusal `mixed-releases` */
export function demandNamed(
  { manifest, manifestSha256 }: Pick<VerifiedRelease, 'manifest' | 'manifestSha256'>,
  named: NamedRelease,
): void {
  const { release, arch, serial, bestBefore } = manifest;
  const fault =
    release !== named.release
      ? `it is ${release}`
      : named.manifest !== undefined && manifestSha256 !== named.manifest
        ? 'its manifest is another'
        : named.arch !== undefined && arch !== named.arch
          ? `it is for ${arch}`
          : named.serial !== undefined && serial !== named.serial
            ? `its serial is ${serial}`
            : named.bestBefore !== undefined && bestBefore !== named.bestBefore
              ? 'its best-before is another'
              : undefined;
  if (fault === undefined) return;
  throw new Refusal(
    'mixed-releases',
    `What lies there as ${named.release} is not what was named: ${fault}.`,
    {
      release: named.release,
    },
  );
}

/** What was judged, and is to be kept. */
export interface JudgedIntake {
  readonly snapshot: JudgedSnapshot | undefined;
  readonly batch: UpstreamBatch | undefined;
  /** By name; what the state holds already is not among them. */
  readonly judged: ReadonlyMap<string, JudgedTree>;
}

/**
 * Keeps what was judged, whole, and moves the channel. Nothing is kept where one thing is refused.
 *
 * @param policy what it was judged by.
 */
export async function takeJudged(
  terms: IntakeTerms,
  policy: PolicyFile,
  { snapshot, batch, judged }: JudgedIntake,
): Promise<IntakeResult> {
  const { state: folder, roots, now, snapshotSigners } = terms;
  const state = await openState(folder);
  try {
    // 1. What was asked before the lock, again.
    await policyFor(folder, undefined, policy);
    const again = snapshot && (await judgeSnapshot(terms, snapshot));
    if (snapshot) await demandFollows(folder, snapshotSigners);
    const names = namedReleases(judged.keys(), snapshot, batch);
    for (const { release } of names) await demandNotWithdrawn(folder, release);
    // 2. What is held already: its records still hold together, and the policy still lets it go.
    const started = new Map<string, StartedRelease>();
    for (const named of names) {
      const { release } = judged.get(named.release) ?? {};
      if (release) started.set(named.release, release);
      else if (!judged.has(named.release))
        started.set(named.release, await judgeHeld(folder, roots, policy, named, now));
    }
    const refused = [...judged.values()].find(({ refusal }) => refusal)?.refusal;
    for (const { release, manifest } of refused ? [] : names) {
      const brought = judged.get(release)?.release;
      if (brought && manifest === undefined) await demandNothingUndone(folder, brought);
    }
    if (!refused && batch) await verifyBatch(batch, started, roots, policy, now);
    // Where the policy of this site wants people of its own to stand by what a channel names.
    if (!refused && again && !again.same) await demandStoodBy(terms, policy, again, judged);
    if (refused) {
      await logRefused(terms, snapshot?.channel, refused, [...judged]);
      return { rows: rowsOf(names, judged, true), refusal: refused, snapshot: undefined, moved: false };
    }
    // 3. The releases, each whole; nothing names them yet.
    for (const { release } of judged.values()) if (release) await keepRelease(terms, release);
    if (batch) await keepUpstreamBatch(folder, batch);
    // 4. On record, then the channel.
    const moved = again !== undefined && !again.same;
    if (again) await tellFollows(folder, snapshotSigners);
    const acts = moved ? await movedActs(terms, again, judged) : [...judged].flatMap(broughtAct(terms));
    await logActs(folder, acts, terms.snapshotKey);
    if (moved) {
      // A mirror is where a plain web server stands.
      await markWebBehind(folder);
      await moveChannel(folder, again, again.follows);
      await refreshWeb(folder);
    }
    return { rows: rowsOf(names, judged, false), refusal: undefined, snapshot: again?.snapshot, moved };
  } finally {
    await state.release();
  }
}

async function demandStoodBy(
  { state, now }: IntakeTerms,
  policy: PolicyFile,
  { channel, snapshot: { releases } }: JudgedSnapshot,
  judged: ReadonlyMap<string, JudgedTree>,
): Promise<void> {
  for (const { release } of releases) {
    const records = judged.get(release)?.release?.records;
    const manifest = records?.get(RECORD.manifest) ?? (await readManifestOf(shelfOf(state).tree(release)));
    await demandPromoted(state, channel, release, manifest ?? new Uint8Array(), policy, now);
  }
}

function rowsOf(
  names: readonly NamedRelease[],
  judged: ReadonlyMap<string, JudgedTree>,
  refused: boolean,
): IntakeRow[] {
  return names.map(({ release }) => {
    const { gates = [], refusal, verdict } = judged.get(release) ?? {};
    const good = refused ? ('held' as const) : ('stored' as const);
    const outcome = refusal ? ('refused' as const) : judged.has(release) ? good : ('kept' as const);
    return { release, outcome, gates, refusal, verdict };
  });
}

async function judgeHeld(
  state: string,
  roots: TrustRoots,
  policy: PolicyFile,
  named: NamedRelease,
  now: number,
): Promise<StartedRelease> {
  const tree = shelfOf(state).tree(named.release);
  const verifier = new Verifier(await fittingRoots(tree, roots), policy, () => now);
  const { manifest, manifestSha256, refusal } = await verifier.verifyRecords(tree);
  if (refusal?.code === 'absent')
    throw new Refusal(
      'drifted',
      `${named.release} lost a record here (${refusal.message.replace(/\.$/, '')}): run "bootseal state watch --once --state ${state}" and this again, which puts it back.`,
      { release: named.release },
    );
  if (refusal || !manifest)
    throw refusal ?? new Refusal('no-verdict', `Nothing vouches for ${named.release}.`, {});
  demandNamed({ manifest, manifestSha256 }, named);
  demandVerified(manifest, policy.publish);
  return { manifest, manifestSha256, roots: verifier.roots };
}

/**
 * Stores a release, or gives the one that is there the records that its upstream signed anew. Where it came from is
 * written before it is there: were that lost, a fetched one would count as ours, and be signed anew.
 */
async function keepRelease({ state, origin, now }: IntakeTerms, verified: VerifiedRelease): Promise<void> {
  const { release, manifestSha256, records, roots } = verified;
  const shelf = shelfOf(state);
  const signers = signerFingerprints(signersOf(records, roots.own, []));
  const ingest = { time: now, origin, manifest: manifestSha256, signers };
  const standing = await storedManifest(state, release);
  if (standing === undefined) await recordIngest(state, release, ingest);
  if (standing === undefined || standing === manifestSha256) {
    await shelf.store(verified, now);
    return;
  }
  const changed = await signedAnew(state, verified);
  await shelf.change({
    ...{ release, to: release, from: standing, records: changed, channels: [], now },
    provenance: withIngest(release, await readProvenance(state, release), ingest),
  });
}

/**
 * The records of a release that its upstream signed anew: what machines run of it is the very same.
 *
 * @throws Refusal `mixed-releases` where it is another release under this name.
 */
async function signedAnew(
  state: string,
  { release, manifest, records }: VerifiedRelease,
): Promise<Map<string, Uint8Array>> {
  const tree = shelfOf(state).tree(release);
  const bytes = (await readManifestOf(tree)) ?? new Uint8Array();
  const standing = decodeOr(`the manifest of ${release}`, () => decodeManifest(bytes));
  const payload = ({ files }: Manifest) =>
    JSON.stringify(files.map(({ path, size, sha256 }) => [path, size, sha256]).sort());
  if (standing.serial !== manifest.serial || payload(standing) !== payload(manifest))
    throw new Refusal(
      'mixed-releases',
      `${release} is here already with other files; a published release never changes.`,
      { release },
    );
  const changed = new Map<string, Uint8Array>();
  for (const [path, now] of records) {
    const before = await tree.read(path, MAX_RECORD).catch((error: unknown) => {
      if (error instanceof Refusal && error.code === 'absent') return undefined;
      throw error;
    });
    if (!before || Buffer.compare(before, now) !== 0) changed.set(path, now);
  }
  return changed;
}
