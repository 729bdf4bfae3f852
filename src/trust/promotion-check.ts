import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import { openpgpCheck } from './openpgp-check.ts';
import type { Policy } from './policy.ts';
import type { PromoteRules } from './policy-file.ts';
import { thresholdCheck } from './threshold.ts';
import { verify } from './verify.ts';

/**
 * Verifies one person's signature over a manifest.
 *
 * @returns the fingerprint of that person's certificate, whichever of its keys has signed.
 * @throws Refusal `untrusted-signer` where it is nobody's of those, and what a signature may be refused for.
 */
export async function promotedBy(
  what: string,
  manifest: Uint8Array,
  seal: Uint8Array,
  { people }: PromoteRules,
  policy: Policy,
  now: number,
): Promise<string> {
  const { evidence } = await verify(what, bytesContent(manifest), [
    openpgpCheck(what, seal, people, policy, now),
  ]);
  const [first] = evidence;
  const key = [first?.holder ?? '', first?.signer ?? ''].join(' ').toLowerCase();
  const person = people.find(
    ({ primary, keys }) =>
      key.includes(primary.fingerprint) || keys.some((one) => key.includes(one.key.fingerprint)),
  );
  if (person) return person.primary.fingerprint;
  throw new Refusal('no-verdict', `Nobody can say who signed ${what}.`, {});
}

/**
 * Verifies that enough people stand by a manifest. What does not hold is passed over as if it were not there.
 *
 * @param seals one person's each.
 * @throws Refusal `untrusted-signer`, or what kept one of them from counting.
 */
export async function verifyPromoted(
  release: string,
  manifest: Uint8Array,
  seals: readonly Uint8Array[],
  { people, least }: PromoteRules,
  policy: Policy,
  now: number,
): Promise<void> {
  if (seals.length === 0)
    throw new Refusal(
      'untrusted-signer',
      `${release} waits for ${least} of ${people.length} people: nobody has signed its manifest yet; "bootseal promote" takes their signatures.`,
      { release, signers: 0, wanted: least },
    );
  const checks = seals.map((seal) => openpgpCheck(release, seal, people, policy, now));
  await verify(release, bytesContent(manifest), [
    thresholdCheck(`The manifest of ${release}`, least, checks),
  ]);
}
