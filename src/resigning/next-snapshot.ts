import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { type ChannelRelease, namesRelease, withReleases } from '../formats/records/snapshot.ts';
import { SNAPSHOT_DAYS, standingReleases } from '../publish/channel-move.ts';
import { type SnapshotKey, signSnapshot } from '../signing/keys/snapshot-key.ts';
import {
  channelNames,
  type NextSnapshot,
  nextCounter,
  readChannel,
  type StoredSnapshot,
} from '../store/channels.ts';
import { policyFor } from '../store/state-policy.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';

const DAY = 86_400_000;

/** The channels that name a release now. Throws a `Refusal` (`malformed`). */
export async function channelsOf(state: string, release: string): Promise<StoredSnapshot[]> {
  const found: StoredSnapshot[] = [];
  for (const name of await channelNames(state)) {
    const stored = await readChannel(state, name);
    if (stored && namesRelease(stored.snapshot, release)) found.push(stored);
  }
  return found;
}

/** Throws a `Refusal` where a channel is not this key's to move. Its age does not matter: one that expired goes on. */
export async function demandMovable(
  { snapshot: { channel, issued }, bytes, seal }: StoredSnapshot,
  key: SnapshotKey,
  now: number,
): Promise<void> {
  await verifySnapshot(channel, bytes, seal, key.accepted, defaultPolicy(now), issued);
}

/**
 * Signs the snapshot by which a channel goes from a release to the same release, signed anew. It is not stored yet.
 *
 * @param now milliseconds since 1970.
 * @param scripts signs what machines of the channel get by name, since that names the manifest: the batch's SHA-256.
 * @throws Refusal where the channel is not this key's to move.
 */
export async function nextSnapshot(
  state: string,
  stored: StoredSnapshot,
  { manifest, manifestSha256 }: { readonly manifest: Manifest; readonly manifestSha256: string },
  key: SnapshotKey,
  now: number,
  scripts: (releases: readonly ChannelRelease[]) => Promise<string | undefined>,
): Promise<NextSnapshot> {
  await demandMovable(stored, key, now);
  const { snapshot: before } = stored;
  const issued = Math.floor(now / 1000) * 1000;
  const { arch, release, serial, bestBefore } = manifest;
  const rollbackFrom = before.releases.find((one) => one.arch === arch)?.rollbackFrom;
  const { standing } = await standingReleases(state, before, { arch });
  const moved = { arch, release, serial, manifest: manifestSha256, bestBefore, rollbackFrom };
  const releases = withReleases(standing, [moved]);
  const batch = before.scripts === undefined ? undefined : await scripts(releases);
  const snapshot = {
    channel: before.channel,
    counter: await nextCounter(state, before.channel),
    issued,
    expires: issued + SNAPSHOT_DAYS * DAY,
    ...(batch === undefined ? {} : { scripts: batch }),
    releases,
  };
  return { snapshot, ...(await signSnapshot(snapshot, key)), follows: before.counter };
}

/**
 * Why a release is not signed anew: a channel names it on the word of people, who stood by the manifest that it has, and of
 * the next one nobody has seen a word. Undefined where there is no such channel.
 */
export async function stoodBy(state: string, release: string): Promise<Refusal | undefined> {
  const { promote } = await policyFor(state);
  if (!promote) return undefined;
  for (const { snapshot } of await channelsOf(state, release)) {
    const { channel } = snapshot;
    if (!promote.channels.includes(channel)) continue;
    return new Refusal(
      'untrusted-signer',
      `${channel} names what people stand by, and signed anew ${release} has another manifest; seal a new release, and promote that.`,
      { channel, release },
    );
  }
  return undefined;
}
