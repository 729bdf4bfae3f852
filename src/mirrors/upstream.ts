import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { writeFileAtomically } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere } from '../files/read-if-there.ts';
import { encodePem } from '../formats/asn1/armor.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { namesRelease, type Snapshot } from '../formats/records/snapshot.ts';
import { demandChannelName } from '../publish/channel-move.ts';
import { channelHistory, readChannel } from '../store/channels.ts';
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
  const current = (await isThere(state)) ? await readChannel(state, channel) : undefined;
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
  return { ...upstream, snapshot, same: known?.counter === snapshot.counter, highest };
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

const TOLD = ['anchors', 'snapshot.crt'] as const;

/**
 * Refuses a state that moves its own channels, or follows somebody else: one file says whose snapshots its readers take.
 *
 * @throws UsageError, Refusal `malformed`, IoError.
 */
export async function demandFollows(state: string, signers: readonly Certificate[]): Promise<void> {
  if (await isThere(join(state, 'private', 'snapshot.key')))
    throw new UsageError(
      `${state} moves its channels by a key of its own: pull into a state of its own, and serve that.`,
    );
  const told = join(state, ...TOLD);
  if (!(await isThere(told))) return;
  const known = (await readCertificatesFile(told)).map(fingerprint);
  if (signers.some((one) => known.includes(fingerprint(one)))) return;
  throw new UsageError(
    `${told} holds none of the given snapshot keys: this state follows another upstream, and one state follows one.`,
  );
}

/** Tells the state's readers, the server first, whose snapshots they take. The state is the caller's. */
export async function tellFollows(state: string, signers: readonly Certificate[]): Promise<void> {
  const bytes = Buffer.from(signers.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''));
  await makeFolders(join(state, TOLD[0]));
  await writeFileAtomically(join(state, ...TOLD), bytes);
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
    `${anchors} holds no snapshot.crt: name the certificate of the upstream's snapshot key with --snapshot-certificate FILE.`,
  );
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
