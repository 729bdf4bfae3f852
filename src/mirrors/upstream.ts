import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import { encodePem } from '../formats/asn1/armor.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { namesRelease, type Snapshot } from '../formats/records/snapshot.ts';
import { demandChannelName } from '../publish/channel-move.ts';
import { channelHistory, readChannel } from '../store/channels.ts';
import { readSnapshotAnchors, snapshotAnchorsName, writeSnapshotAnchors } from '../store/state-anchors.ts';
import { holdsSnapshotKey } from '../store/state-keys.ts';
import { readCertificatesFile } from '../trust/certificates-file.ts';
import { fingerprint } from '../trust/chain.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';

/**
 * A mirror's state holds the channels of somebody else: his snapshots, byte for byte, with their seals. It has no key for
 * them, and follows one upstream, by the certificates that its operator was given.
 */

/** A channel's snapshot as its upstream signed it, or as somebody says so. */
export interface UpstreamSnapshot {
  readonly channel: string;
  readonly bytes: Uint8Array;
  readonly seal: Uint8Array;
}

export interface UpstreamTerms {
  /** The mirror's STATE folder. */
  readonly state: string;
  /** Certificates of the upstream's snapshot key; several while one takes another's place. */
  readonly snapshotSigners: readonly Certificate[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Releases that the channel may go back to though its snapshot does not say that it does. */
  readonly back?: readonly string[];
}

export interface JudgedSnapshot extends UpstreamSnapshot {
  readonly snapshot: Snapshot;
  /** The very snapshot that the mirror has. */
  readonly same: boolean;
  /** The counter that the channel was at; 0 where there is none. */
  readonly follows: number;
  /** The highest serials that the mirror's history of the channel names, by architecture. */
  readonly highest: ReadonlyMap<string, { readonly release: string; readonly serial: number }>;
}

/**
 * Judges a snapshot by the upstream's key, the clock, and what this mirror has had of the channel. It goes forward: its
 * counter does, and its serials, but where the snapshot says that the upstream went back on purpose.
 *
 * @throws Refusal `rolled-back`, `stale`, `mixed-releases` and what a signature may be refused for; IoError.
 */
export async function judgeSnapshot(
  { state, snapshotSigners, now, back = [] }: UpstreamTerms,
  upstream: UpstreamSnapshot,
): Promise<JudgedSnapshot> {
  const { channel, bytes, seal } = upstream;
  demandChannelName(channel);
  const current = await readChannel(state, channel);
  const known = current && { counter: current.snapshot.counter, sha256: sha256Of(current.bytes) };
  // 1. By the key, of this channel, fresh, and not older than what is here.
  const snapshot = await verifySnapshot(
    channel,
    bytes,
    seal,
    snapshotSigners,
    defaultPolicy(now),
    now,
    known,
  );
  // 2. A release that is older than one the channel has had: only where the upstream's snapshot says so itself, or went
  // there while this mirror looked.
  const highest = current ? await highestSerials(state, channel) : new Map<string, never>();
  for (const { arch, release, serial, rollbackFrom } of snapshot.releases) {
    const top = highest.get(arch);
    if (!top || serial >= top.serial || rollbackFrom !== undefined || back.includes(release)) continue;
    if (current && namesRelease(current.snapshot, release)) continue;
    throw new Refusal(
      'rolled-back',
      `Snapshot ${snapshot.counter} of ${channel} names ${release} with serial ${serial}, and ${top.release} with ${top.serial} was here before; if the upstream went back on purpose while nobody pulled, say --back-to ${release}.`,
      { channel, serial, highest: top.serial },
    );
  }
  const follows = known?.counter ?? 0;
  return { ...upstream, snapshot, same: follows === snapshot.counter, follows, highest };
}

async function highestSerials(
  state: string,
  channel: string,
): Promise<Map<string, { readonly release: string; readonly serial: number }>> {
  const highest = new Map<string, { readonly release: string; readonly serial: number }>();
  for (const { snapshot } of await channelHistory(state, channel)) {
    for (const { arch, release, serial } of snapshot.releases) {
      if (serial >= (highest.get(arch)?.serial ?? 0)) highest.set(arch, { release, serial });
    }
  }
  return highest;
}

/**
 * Refuses a state that moves its own channels, or follows somebody else: one file says whose snapshots its readers take.
 *
 * @throws UsageError, Refusal `malformed`, IoError.
 */
export async function demandFollows(state: string, signers: readonly Certificate[]): Promise<void> {
  if (await holdsSnapshotKey(state))
    throw new UsageError(
      `${state} moves its channels by a key of its own: pull or import into a state of its own, and serve that.`,
    );
  const known = (await readSnapshotAnchors(state)).map(fingerprint);
  if (known.length === 0 || signers.some((one) => known.includes(fingerprint(one)))) return;
  throw new UsageError(
    `${snapshotAnchorsName(state)} holds none of the given snapshot keys: this state follows another upstream, and one state follows one.`,
  );
}

/** Tells the state's readers, the server first, whose snapshots they take. The state is the caller's. */
export async function tellFollows(state: string, signers: readonly Certificate[]): Promise<void> {
  const known = await readSnapshotAnchors(state);
  if (known.map(fingerprint).join() === signers.map(fingerprint).join()) return;
  await writeSnapshotAnchors(state, signers.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''));
}

/** @throws as `readCertificatesFile`. */
export async function snapshotSigners(
  anchors: string,
  certificate: string | undefined,
): Promise<readonly Certificate[]> {
  if (certificate !== undefined) return readCertificatesFile(certificate);
  for (const path of [join(anchors, 'anchors', 'snapshot.crt'), join(anchors, 'snapshot.crt')]) {
    if (await isThere(path)) return readCertificatesFile(path);
  }
  throw new UsageError(
    `${anchors} holds no snapshot.crt: name the certificate of the upstream's snapshot key with --snapshot-cert FILE.`,
  );
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
