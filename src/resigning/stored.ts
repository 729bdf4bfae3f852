import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import { decodeManifest, type Manifest } from '../formats/records/manifest.ts';
import { logAct } from '../publish/log-act.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import type { Signing } from '../signing/sealer.ts';
import type { Act } from '../store/log.ts';
import { type Origin, originOf, type Provenance, readProvenance } from '../store/provenance.ts';
import { type Quarantined, quarantineRelease, readQuarantined, takeBack } from '../store/quarantine.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { readManifestOf } from '../store/stored-manifest.ts';
import type { SuccessionStep } from '../trust/succession.ts';
import { readSelfRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';
import type { ResignKeys } from './keys.ts';
import { channelsOf } from './next-snapshot.ts';
import { restoreCommand } from './restore-command.ts';
import type { WantedChange } from './rework.ts';
import type { Standing, Trusted } from './standing.ts';

/**
 * What became of one release. `refused`: it was not touched, since what was asked for cannot be. `withdrawn`: it was not,
 * since it is out of use for good, and nobody asked for it by its name.
 */
export interface ResignRow {
  /** Its name until now. */
  readonly release: string;
  readonly origin: Origin;
  readonly outcome:
    | 'kept'
    | 'resigned'
    | 'countersigned'
    | 'quarantined'
    | 'refused'
    | 'restored'
    | 'withdrawn';
  /** The very keys that sealed it, or those that follow them; undefined where nobody could tell. */
  readonly key: 'same' | 'mapped' | undefined;
  /** In quarantine, and in service all the same: a channel names it, and its seals hold. */
  readonly held: boolean;
  readonly refusal: Refusal | undefined;
  /** What takes it back. */
  readonly command: string | undefined;
  /** Paths that were written, or would be. */
  readonly changes: readonly string[];
  readonly steps: readonly SuccessionStep[];
  /** Channels that name it, and moved with it. */
  readonly channels: readonly string[];
  /** What a person should know. */
  readonly note: string | undefined;
}

/** What one batch has in common. */
export interface Batch {
  readonly state: string;
  readonly keysFolder: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly trusted: Trusted;
  readonly resignKeys: ResignKeys;
  /** Undefined: a dry run, which signs nothing and changes nothing. */
  readonly signing: Signing | undefined;
  /** Undefined where there is no channel. */
  readonly snapshotKey: SnapshotKey | undefined;
  readonly snapshotFolder: string | undefined;
  /** Its releases were asked for by their names. */
  readonly named: boolean;
  readonly change: WantedChange;
}

/** A release as the store has it. */
export interface Stored {
  readonly release: string;
  readonly tree: Tree;
  readonly origin: Origin;
  readonly provenance: Provenance | undefined;
  /** Its mark, where it is in quarantine. */
  readonly mark: Quarantined | undefined;
  readonly channels: readonly string[];
}

export type Outcome = Partial<ResignRow> & Pick<ResignRow, 'outcome'>;

/** Puts a release on record as quarantined. One that a channel names stays in service while its seals hold. */
export async function putAway(
  batch: Batch,
  stored: Stored,
  standing: Standing | undefined,
  refusal: Refusal,
): Promise<Outcome> {
  const { state, keysFolder: keys, now, signing } = batch;
  const { release, origin, mark, channels } = stored;
  const moved = mark !== undefined && !mark.held;
  const hold = !moved && channels.length > 0 && (await holdsForClients(stored, standing, refusal, batch));
  const folder = shelfOf(state).folder(release, !hold);
  const manifest = standing?.manifest ?? (await unverifiedManifest(stored.tree));
  const sound = standing !== undefined;
  const command = restoreCommand({ state, keys, release, folder, manifest, refusal, sound });
  const result: Outcome = { outcome: 'quarantined', held: hold, refusal, command };
  const known = mark?.code === refusal.code && mark.message === refusal.message && mark.held === hold;
  if (!signing || known) return result;
  const { code, message } = refusal;
  const reason = {
    release,
    manifest: standing?.manifestSha256 ?? '',
    origin: origin.origin,
    code,
    message,
    command,
  };
  const facts = { release, manifest: standing?.manifestSha256, origin: elsewhere(origin) };
  await log(batch, { act: 'quarantine', ...facts, refusal });
  await quarantineRelease(state, reason, now, hold);
  return result;
}

/** Whether machines go on booting it: its seals hold, or they hold under a CA that we merely were not told of. */
async function holdsForClients(
  { tree }: Stored,
  standing: Standing | undefined,
  { code }: Refusal,
  { trusted: { policy, now } }: Batch,
): Promise<boolean> {
  if (standing) return true;
  if (code !== 'untrusted-signer') return false;
  try {
    const verifier = new Verifier(await readSelfRoots(tree), { at: () => policy }, () => now);
    const { refusal } = await verifier.verifyRecords(tree);
    return refusal === undefined;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

export async function bringBack(
  batch: Pick<Batch, 'state' | 'now' | 'snapshotFolder'>,
  { release, origin }: Stored,
  { manifestSha256 }: Standing,
): Promise<void> {
  await log(batch, { act: 'restore', release, manifest: manifestSha256, origin: elsewhere(origin) });
  await takeBack(batch.state, release, batch.now);
}

/** What is ours needs no word in the log. */
function elsewhere({ origin }: Origin): string | undefined {
  return origin === 'local' ? undefined : origin;
}

export async function factsOf(
  state: string,
  release: string,
): Promise<Pick<Stored, 'origin' | 'provenance' | 'mark' | 'channels'>> {
  const provenance = await readProvenance(state, release);
  const found = await readQuarantined(state, release);
  // What was moved out under a name that was published again since is another release's affair.
  const mark = found && (found.held || !(await shelfOf(state).has(release))) ? found : undefined;
  const channels = (await channelsOf(state, release)).map(({ snapshot }) => snapshot.channel);
  return { origin: originOf(provenance), provenance, mark, channels };
}

/** A release as it lies there: in its place, or in quarantine. */
export async function treeOf(state: string, release: string): Promise<Tree> {
  const shelf = shelfOf(state);
  return (await shelf.has(release)) ? shelf.tree(release) : shelf.treeAside(release);
}

/** For the words of a command alone. */
async function unverifiedManifest(tree: Tree): Promise<Manifest | undefined> {
  try {
    const bytes = await readManifestOf(tree);
    return bytes && decodeManifest(bytes);
  } catch (error) {
    if (error instanceof Malformed || error instanceof Refusal) return undefined;
    throw error;
  }
}

export async function log(
  { state, now, snapshotFolder }: Pick<Batch, 'state' | 'now' | 'snapshotFolder'>,
  act: Omit<Act, 'time'>,
): Promise<void> {
  await logAct(state, { time: now, ...act }, snapshotFolder);
}

export function rowOf({ release, origin, channels }: Stored, outcome: Outcome): ResignRow {
  return {
    release,
    origin,
    key: undefined,
    held: false,
    refusal: undefined,
    command: undefined,
    changes: [],
    steps: [],
    channels,
    note: undefined,
    ...outcome,
  };
}
