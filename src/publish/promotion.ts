import { createHash } from 'node:crypto';
import { readPromotions } from '../store/promotions.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { verifyPromoted } from '../trust/promotion-check.ts';

/**
 * Throws unless as many people stand by a release as the state's policy wants for this channel.
 *
 * @param manifest of the release, as it was verified.
 * @param now milliseconds since 1970.
 * @throws Refusal `untrusted-signer`, IoError.
 */
export async function demandPromoted(
  state: string,
  channel: string,
  release: string,
  manifest: Uint8Array,
  policy: PolicyFile,
  now: number,
): Promise<void> {
  const rules = policy.promote;
  if (!rules?.channels.includes(channel)) return;
  const sha256 = createHash('sha256').update(manifest).digest('hex');
  const seals = await readPromotions(state, release, sha256);
  await verifyPromoted(release, manifest, seals, rules, policy.at(now, now), now);
}
