import { createHash } from 'node:crypto';
import { type LoaderImage, readLoaderImage } from '../formats/loader/loader-image.ts';
import type { OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import type { Anchors } from './anchors.ts';
import type { OpenpgpCertificate } from './openpgp-certificate.ts';

/** What a loader can verify, by whose keys, and whether those are a site's: as far as the file tells, which may lie. */
export interface LoaderReport {
  readonly image: LoaderImage;
  /** True where it can hold what it starts against a seal, or firmware does so for it. */
  readonly verifies: boolean;
  /** What it can verify, in a few words. */
  readonly verification: string;
  /** Whom it trusts, one each; or whose signature it carries. */
  readonly trusts: readonly string[];
  /** Whether all of those are of the site's anchors; undefined where there is nothing to compare, or nothing with it. */
  readonly ours: boolean | undefined;
  /** Why a machine of this site should not be given it: phrases that go on a sentence with its name. */
  readonly warnings: readonly string[];
}

/**
 * Looks into a loader.
 *
 * @param name of the file: what it says of the architecture is compared with what the file is.
 * @param sites the anchors of each CA whose machines are served; none: nothing is compared.
 */
export function lookIntoLoader(name: string, bytes: Uint8Array, sites: readonly Anchors[]): LoaderReport {
  const roots = sites.flatMap(({ ca }) => ca.map(({ raw }) => sha256(raw)));
  const image = readLoaderImage(bytes, roots);
  const { verifies, verification } = abilityOf(image);
  const { trusts, foreign } = trustOf(image, sites, roots);
  const compared = sites.length > 0 && trusts.length > 0 && (image.ipxe ?? image.grub) !== undefined;
  return {
    image,
    verifies,
    verification,
    trusts,
    // A stock iPXE is no reason to warn, and its makers' root is no site's all the same.
    ours: compared ? foreign.length === 0 && !image.ipxe?.ownRoot : undefined,
    warnings: [...misnamed(name, image), ...(sites.length > 0 ? foreign : [])],
  };
}

function abilityOf({
  kind,
  ipxe,
  grub,
  signers,
}: LoaderImage): Pick<LoaderReport, 'verifies' | 'verification'> {
  if (ipxe?.imgverify) {
    const by = ipxe.bootSigner
      ? `; its script takes no boot.ipxe but one by ${ipxe.bootSigner}`
      : ipxe.embedded
        ? '; another script is built in'
        : '; no script is built in, so it does so where it is told to';
    return { verifies: true, verification: `CMS seals of all that it starts (imgverify)${by}` };
  }
  if (ipxe) return { verifies: false, verification: 'nothing: this iPXE was built without imgverify' };
  if (grub?.enforces)
    return { verifies: true, verification: 'OpenPGP signatures of every file (check_signatures=enforce)' };
  if (grub) {
    const how =
      signers.length > 0 ? 'nothing but what firmware with Secure Boot verifies' : 'nothing by itself';
    return { verifies: signers.length > 0, verification: `${how}: it holds no OpenPGP key, or demands none` };
  }
  if (kind === 'uki' || kind === 'shim' || kind === 'systemd-boot')
    return signers.length > 0
      ? { verifies: true, verification: 'is verified as a whole by firmware with Secure Boot' }
      : { verifies: false, verification: 'nothing: it is not signed for Secure Boot' };
  if (kind === 'systemd-stub')
    return { verifies: false, verification: 'nothing by itself: "bootseal uki" makes images from it' };
  return { verifies: false, verification: 'unknown: this is no loader that is known here' };
}

function trustOf(
  { ipxe, grub, signers }: LoaderImage,
  sites: readonly Anchors[],
  roots: readonly string[],
): { trusts: string[]; foreign: string[] } {
  const foreign: string[] = [];
  const not = (what: string): string => {
    foreign.push(`trusts ${what}, which is not of these anchors`);
    return what;
  };
  const trusts = signers.map((signer) => `signed by ${signer}`);
  if (ipxe) {
    for (const root of ipxe.roots) trusts.push(roots.includes(root) ? `CA ${root}` : not(`the CA ${root}`));
    if (ipxe.ownRoot)
      trusts.push(ipxe.imgverify ? not('the root of iPXE’s makers') : 'the root of iPXE’s makers');
    if (ipxe.imgverify && !ipxe.ownRoot && !ipxe.roots.some((root) => roots.includes(root)))
      if (ipxe.roots.length === 0) foreign.push('trusts none of these anchors, as far as it tells');
    const signer = ipxe.bootSigner;
    if (signer !== undefined && !sites.some(({ bootSigner }) => bootSigner === signer))
      foreign.push(`takes scripts of ${signer} alone, which is not of these anchors`);
  }
  if (grub) {
    const keys = (list: readonly OpenpgpKey[], purpose: 'script' | 'payload') => {
      for (const { keyId, fingerprint } of list) {
        const known = sites.some(({ openpgp }) => holds(openpgp[purpose], fingerprint));
        trusts.push(known ? `${purpose} key ${keyId}` : not(`${purpose} key ${keyId}`));
      }
    };
    keys(grub.keys, 'script');
    keys(grub.payloadKeys, 'payload');
  }
  return { trusts, foreign };
}

function holds(certificates: readonly OpenpgpCertificate[], fingerprint: string): boolean {
  return certificates.some(({ keys }) => keys.some(({ key }) => key.fingerprint === fingerprint));
}

/** What names say, as distributions and firmware spell it; the first that fits. */
const NAMED: readonly (readonly [pattern: RegExp, arch: string])[] = [
  [/aa64|arm64|aarch64/, 'aarch64'],
  [/x64|x86[-_]?64|amd64/, 'x86_64'],
  [/ia32|i386/, 'i386'],
  [/riscv64/, 'riscv64'],
];

function misnamed(name: string, { firmware, arch }: LoaderImage): string[] {
  const lower = name.toLowerCase();
  const said = NAMED.find(([pattern]) => pattern.test(lower))?.[1];
  if (firmware === 'UEFI' && said !== undefined && arch !== undefined && said !== arch)
    return [`is for ${arch}, and its name says ${said}`];
  if (firmware === 'UEFI' && /\.(kpxe|kkpxe|pxe|0)$/.test(lower))
    return ['is for UEFI, and its name says BIOS'];
  if (firmware === 'BIOS' && /\.efi(\.signed)?$/.test(lower))
    return ['is for a BIOS, and its name says UEFI'];
  if (firmware === undefined && /\.efi(\.signed)?$/.test(lower)) return ['is no program for UEFI'];
  return [];
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
