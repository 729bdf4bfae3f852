import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { decodeManifest } from '../formats/records/manifest.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { readManifestOf } from '../store/stored-manifest.ts';
import { decodeOr } from '../trust/check.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';

/**
 * A release that no snapshot vouches for, but its own seals alone, may be one that its upstream has signed anew since: with
 * keys that came in the place of others. It takes no place of newer records, nor of those that a channel names.
 *
 * @throws Refusal `rolled-back`, `mixed-releases`.
 */
export async function demandNothingUndone(
  state: string,
  { release, manifest, manifestSha256 }: VerifiedRelease,
): Promise<void> {
  const bytes = await readManifestOf(shelfOf(state).tree(release));
  if (!bytes) return;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 === manifestSha256) return;
  const standing = decodeOr(`the manifest of ${release}`, () => decodeManifest(bytes));
  if (manifest.issued <= standing.issued)
    throw new Refusal(
      'rolled-back',
      `${release} is here with records of ${isoSeconds(standing.issued)}: it was signed anew after the ones that were brought, of ${isoSeconds(manifest.issued)}.`,
      { release },
    );
  for (const channel of await channelNames(state)) {
    const { snapshot } = (await readChannel(state, channel)) ?? {};
    if (snapshot?.releases.some((one) => one.release === release && one.manifest === sha256))
      throw new Refusal(
        'mixed-releases',
        `${channel} names ${release} with the records that are here: bring the channel that names the newer ones.`,
        { release, channel },
      );
  }
}
