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
