import { Refusal } from '../errors/refusal.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { type Arming, LONGEST_ARMING } from '../formats/records/armed-boot.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { decodeOr } from './check.ts';
import { type MachineScript, SCRIPT_NAMES, verifyMachineScript } from './machine-script-check.ts';
import type { Policy } from './policy.ts';
import type { ServableRelease } from './verified-release.ts';

/**
 * Verifies the script that an arming names: whoever could write into the state could otherwise have a machine wiped by a
 * script that was signed for another day.
 *
 * @param now milliseconds since 1970.
 * @throws Refusal
 */
export async function verifyArmedScript(
  arming: Omit<Arming, 'script'>,
  script: Pick<MachineScript, 'bytes' | 'seal'>,
  release: ServableRelease,
  policy: Policy,
  now: number,
): Promise<void> {
  const { loader, mac } = arming;
  const { own } = release.roots;
  // 1. It boots the release that was armed, as that is now.
  if (release.manifestSha256 !== arming.manifest)
    throw new Refusal('mixed-releases', `${mac} is armed with another ${arming.release} than this.`, {
      mac,
      release: arming.release,
    });
  // 2. By the key for scripts, and safe to run.
  await verifyMachineScript({ ...script, loader, starts: release }, own, policy, now);
  // 3. By a leaf that ends with the arming: one that lasts for years would make a script that can be replayed for years.
  if (loader !== 'ipxe') return;
  const what = SCRIPT_NAMES[loader] + SEAL.openpgp;
  const { certificates } = decodeOr(what, () => decodeDetachedCms(script.seal));
  const latest = arming.armed + LONGEST_ARMING;
  const long = certificates.find(
    ({ commonName, notAfter }) => commonName === own.bootSigner && notAfter > latest,
  );
  if (!long) return;
  throw new Refusal(
    'wrong-purpose',
    `The leaf that ${mac} is armed with lasts longer than 24 hours: its script could be replayed until then.`,
    { mac, until: new Date(long.notAfter).toISOString() },
  );
}
