import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { ChannelRelease } from '../formats/records/snapshot.ts';
import { batchFor } from '../publish/machine-batch.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { withResigned } from '../store/provenance.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { readStatePolicy } from '../store/state-policy.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import { fingerprint } from '../trust/chain.ts';
import { readTrustRoots } from '../trust/trust-roots.ts';
import { countersign } from './countersign.ts';
import { demandSuccession, mapDigest, signerNames } from './keys.ts';
import { channelsOf, nextSnapshot, stoodBy } from './next-snapshot.ts';
import { rework, SignerGone, signRework } from './rework.ts';
import { readStanding, type Standing } from './standing.ts';
import {
  type Batch,
  bringBack,
  factsOf,
  log,
  type Outcome,
  putAway,
  type ResignRow,
  rowOf,
  type Stored,
  treeOf,
} from './stored.ts';

/**
 * Signs one release anew, countersigns it, or puts it in quarantine.
 *
 * @returns its row; `stopped` where a signer went away, which is no fault of the release. An IoError is thrown.
 */
export async function resignOne(
  batch: Batch,
  release: string,
): Promise<{ row: ResignRow; stopped: Refusal | undefined }> {
  const { state, trusted } = batch;
  let stored: Stored = {
    release,
    tree: await treeOf(state, release),
    origin: { origin: 'local', recorded: false },
    provenance: undefined,
    mark: undefined,
    channels: [],
  };
  try {
    stored = { ...stored, ...(await factsOf(state, release)) };
    // What is out of use for good is not signed again, whoever asks.
    await demandNotWithdrawn(state, release);
  } catch (error) {
    // Among them: nobody can tell where it came from. Were it fetched, we would put our name in another's place.
    if (!(error instanceof Refusal)) throw error;
    const outcome = error.code === 'withdrawn' && !batch.named ? 'withdrawn' : 'refused';
    return { row: rowOf(stored, { outcome, refusal: error }), stopped: undefined };
  }
  let standing: Standing | undefined;
  try {
    standing = await readStanding(stored.tree, trusted);
    const work = stored.origin.origin === 'local' ? signAnew : countersign;
    return { row: rowOf(stored, await work(batch, stored, standing)), stopped: undefined };
  } catch (error) {
    const refusal = error instanceof SignerGone ? error.refusal : error;
    if (!(refusal instanceof Refusal)) throw error;
    const row = rowOf(stored, await putAway(batch, stored, standing, refusal));
    return { row, stopped: error instanceof SignerGone ? refusal : undefined };
  }
}

async function signAnew(batch: Batch, stored: Stored, standing: Standing): Promise<Outcome> {
  const { state, now, trusted, resignKeys, change, signing, snapshotKey } = batch;
  const { release, mark } = stored;
  const steps = await demandSuccession(standing.signers, resignKeys, trusted);
  const key = steps.length > 0 ? 'mapped' : 'same';
  const wanted = await rework(standing, resignKeys, change).catch((error) => {
    // What was wished for cannot be; that is no reason to take a sound release out of service.
    if (error instanceof Refusal) return error;
    throw error;
  });
  if (wanted instanceof Refusal) return { outcome: 'refused', refusal: wanted, key, steps };
  const { draft, changes, asItStands } = wanted;
  if (asItStands) {
    if (mark && signing) await bringBack(batch, stored, standing);
    return { outcome: 'kept', key, steps };
  }
  const guarded = await stoodBy(state, release);
  if (guarded) return { outcome: 'refused', refusal: guarded, key, steps };
  const to = draft.manifest.release;
  const result: Outcome = { outcome: 'resigned', key, steps, changes };
  if (!signing) return result;
  const records = await signRework(standing, wanted, signing, resignKeys, trusted);
  const channels = [];
  for (const channel of await channelsOf(state, release)) {
    if (!snapshotKey) continue;
    const scripts = (releases: readonly ChannelRelease[]) =>
      scriptsOf(batch, channel.snapshot.channel, releases, new Map([...standing.records, ...records]));
    channels.push(await nextSnapshot(state, channel, draft, snapshotKey, now, scripts));
  }
  if (mark && !mark.held) await bringBack(batch, stored, standing);
  // Before anything changes: a crash may leave an entry whose act never was, and never an act without its entry.
  const signers = signerNames(resignKeys);
  const { serial } = draft.manifest;
  const facts = { act: 'resign', release: to, manifest: draft.manifestSha256, serial } as const;
  const seals = new Map([...standing.records, ...records]);
  await log(batch, { ...facts, seals, signers });
  for (const { snapshot } of channels) {
    const { channel, counter } = snapshot;
    await log(batch, { ...facts, channel, counter, signers: snapshotSigner(snapshotKey) });
  }
  await shelfOf(state).change({
    release,
    to,
    from: standing.manifestSha256,
    records,
    channels,
    now,
    provenance: withResigned(to, stored.provenance, {
      time: isoSeconds(Math.floor(now / 1000) * 1000),
      from: standing.manifestSha256,
      to: draft.manifestSha256,
      ...(to === release ? {} : { renamed: release }),
      signers,
      steps: steps.map(({ map, kind, from, to: next }) => ({
        kind,
        from,
        to: next,
        map: mapDigest(resignKeys.maps, map),
      })),
    }),
  });
  if (mark?.held) await bringBack(batch, stored, standing);
  return { ...result, channels: channels.map(({ snapshot }) => snapshot.channel) };
}

/** What machines get by name names the manifest, so it is signed anew with it. */
async function scriptsOf(
  { state, keysFolder, now, resignKeys: { keys } }: Batch,
  channel: string,
  releases: readonly ChannelRelease[],
  records: ReadonlyMap<string, Uint8Array>,
): Promise<string | undefined> {
  const roots = await readTrustRoots(join(keysFolder, 'anchors'));
  const policy = await readStatePolicy(state);
  const loader = { ca: keys.ca.certificate, above: keys.above, boot: keys.boot.certificate };
  const signers = { loader, boot: keys.boot.signer, script: keys.openpgp.script };
  const manifest = records.get(RECORD.manifest) ?? new Uint8Array();
  const manifestSha256 = createHash('sha256').update(manifest).digest('hex');
  return batchFor(
    { state, channel, roots, policy, now, keys: signers },
    { manifestSha256, records },
  )(releases);
}

function snapshotSigner(key: SnapshotKey | undefined): string[] {
  return key ? [fingerprint(key.certificate)] : [];
}
