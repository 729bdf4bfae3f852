import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { type Arming, LONGEST_ARMING } from '../formats/records/armed-boot.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { lintGrubConfig } from '../scripts/grub-lint.ts';
import { lintScript } from '../scripts/lint.ts';
import { decodeOr } from './check.ts';
import { cmsCheck, imgverifyRules } from './cms-check.ts';
import { openpgpCheck } from './openpgp-check.ts';
import type { Policy } from './policy.ts';
import { manifestNamedIn } from './script-lines.ts';
import type { VerifiedRelease } from './verified-release.ts';
import { verify } from './verify.ts';

/** The script of an arming, and its seal. */
export interface ArmedScript {
  readonly bytes: Uint8Array;
  readonly seal: Uint8Array;
}

/** The name that it is served by, and that its seal is for. */
export const ARMED_NAMES = { ipxe: 'boot.ipxe', grub: 'grub.cfg' } as const;

/**
 * Verifies the script that an arming names: whoever could write into the state could otherwise have a machine wiped by a
 * script that was signed for another day.
 *
 * @param now milliseconds since 1970.
 * @throws Refusal
 */
export async function verifyArmedScript(
  arming: Arming,
  { bytes, seal }: ArmedScript,
  release: VerifiedRelease,
  policy: Policy,
  now: number,
): Promise<void> {
  const name = ARMED_NAMES[arming.loader];
  const what = name + SEAL.openpgp;
  const { ca, bootSigner, openpgp } = release.roots.own;
  const iPxe = arming.loader === 'ipxe';
  // 1. By the boot leaf, or the script key.
  const check = iPxe
    ? cmsCheck(
        what,
        seal,
        { ...imgverifyRules(ca, bootSigner), complete: true, exactName: true },
        policy,
        now,
      )
    : openpgpCheck(what, seal, openpgp.script, policy, now, 'grub');
  await verify(name, bytesContent(bytes), [check]);
  // 2. By a leaf that ends with the arming: one that lasts for years would make a script that can be replayed for years.
  if (iPxe) demandShortLeaf(arming, what, seal, bootSigner);
  // 3. It boots the release that was armed.
  if (release.manifestSha256 !== arming.manifest || manifestNamedIn(name, bytes) !== arming.manifest)
    throw new Refusal(
      'mixed-releases',
      `The script that ${arming.mac} is armed with names another manifest.`,
      {
        mac: arming.mac,
        release: arming.release,
      },
    );
  // 4. It starts nothing that it did not verify.
  const [finding] = iPxe ? lintScript(bytes, { signers: [arming.release] }) : lintGrubConfig(bytes);
  if (finding)
    throw new Refusal(
      'unsafe-script',
      `The script that ${arming.mac} is armed with is not safe in line ${finding.line}: ${finding.message}.`,
      { mac: arming.mac, line: finding.line, rule: finding.rule },
    );
}

function demandShortLeaf(
  arming: Arming,
  what: string,
  seal: Uint8Array,
  bootSigner: string | undefined,
): void {
  const { certificates } = decodeOr(what, () => decodeDetachedCms(seal));
  const latest = arming.armed + LONGEST_ARMING;
  const long = certificates.find(
    ({ commonName, notAfter }) => commonName === bootSigner && notAfter > latest,
  );
  if (!long) return;
  throw new Refusal(
    'wrong-purpose',
    `The leaf that ${arming.mac} is armed with lasts longer than 24 hours: its script could be replayed until then.`,
    { mac: arming.mac, until: new Date(long.notAfter).toISOString() },
  );
}
