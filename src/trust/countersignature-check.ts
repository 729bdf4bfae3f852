import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import { type Countersignature, decodeCountersignature } from '../formats/records/countersignature.ts';
import type { Anchors, OpenpgpAnchors } from './anchors.ts';
import { decodeOr } from './check.ts';
import { cmsCheck, leafRules } from './cms-check.ts';
import { openpgpCheck } from './openpgp-check.ts';
import type { Policy } from './policy.ts';
import { verify } from './verify.ts';

/** A countersignature and its two seals, as they are stored. */
export interface SealedCountersignature {
  readonly bytes: Uint8Array;
  readonly cms: Uint8Array;
  readonly openpgp: Uint8Array;
}

/**
 * Verifies what a site says of a release that somebody else sealed. It adds to the release's own seals and takes
 * the place of none.
 *
 * @param original the release that it must be about.
 * @param anchors of the site that countersigned.
 * @throws Refusal `mixed-releases` where it is about another release or manifest, and what seals may be refused
 *   for.
 */
export async function verifyCountersignature(
  { bytes, cms, openpgp }: SealedCountersignature,
  original: { readonly release: string; readonly manifestSha256: string },
  anchors: Pick<Anchors, 'ca' | 'manifest'> & { readonly openpgp: Pick<OpenpgpAnchors, 'manifest'> },
  policy: Policy,
  now: number,
): Promise<Countersignature> {
  const what = `the countersignature of ${original.release}`;
  // 1. By the site's keys for records, both.
  await verify(what, bytesContent(bytes), [
    cmsCheck(what, cms, leafRules(anchors.manifest, anchors.ca), policy, now),
    openpgpCheck(what, openpgp, anchors.openpgp.manifest, policy, now),
  ]);
  // 2. It is one, and not something else that these keys signed.
  const value = decodeOr(what, () => decodeCountersignature(bytes));
  // 3. It is about this release, and this manifest of it.
  if (value.release !== original.release || value.manifest !== original.manifestSha256) {
    throw new Refusal(
      'mixed-releases',
      `A countersignature of ${value.release} stands in the place of one of ${original.release}.`,
      { release: value.release, manifest: value.manifest },
    );
  }
  return value;
}
