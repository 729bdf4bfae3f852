import { Refusal } from '../errors/refusal.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { checksumPath, SEAL } from '../formats/records/seal-names.ts';
import { type Check, decodeOr } from './check.ts';
import { cmsCheck, imgverifyRules, leafRules } from './cms-check.ts';
import type { OpenpgpCertificate } from './openpgp-certificate.ts';
import { openpgpCheck } from './openpgp-check.ts';
import { checksumCheck } from './plain-checks.ts';
import type { Policy } from './policy.ts';

/** What a netboot tree of Arch's own is judged by: curated, by other ways than the mirror. */
export interface ArchAnchors {
  /** Arch's codesigning CA. None: CMS seals cannot be judged. */
  readonly ca: readonly Certificate[];
  /** Exactly the codesigning certificates that are taken; none: each that leads to the CA and may sign code. */
  readonly codesign: readonly Certificate[];
  /** A curated keyring. None: OpenPGP signatures cannot be judged. */
  readonly openpgp: readonly OpenpgpCertificate[];
}

/** A list of sums at the top of a release, in sha256sum's or sha512sum's form. */
export interface ArchSums {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly hash: 'sha256' | 'sha512';
  /** Who signed it; empty: nobody. */
  readonly signer: string;
  /** Paths that it lists. */
  readonly paths: ReadonlySet<string>;
}

/** What stands beside one file, by suffix, as far as it is there. */
export type ArchSeals = ReadonlyMap<string, Uint8Array>;

/** The suffix of a root image's sums among its seals: they have a name of their own. */
export const ROOT_SUMS = '.sha512';

export interface SealCheck {
  /** The seal's path. */
  readonly seal: string;
  readonly check: Check;
}

export interface ArchChecks {
  readonly checks: readonly SealCheck[];
  /** Seals that are there, and that nothing was given to judge by. */
  readonly unjudged: readonly string[];
}

/**
 * The checks of one file of Arch's netboot tree: every seal beside it that the anchors can judge, each of which must hold.
 *
 * @param brought certificates that the seals of other files of this release brought along: where no codesigning
 *   certificate is given, the seal of the root image, which holds none itself, is by one of them. They are trusted for
 *   nothing: each must lead to the CA.
 */
export function archChecks(
  path: string,
  seals: ArchSeals,
  sums: readonly ArchSums[],
  brought: readonly Certificate[],
  { ca, codesign, openpgp }: ArchAnchors,
  policy: Policy,
  now: number,
): ArchChecks {
  const checks: SealCheck[] = [];
  const unjudged: string[] = [];
  const add = (suffix: string, can: boolean, make: (seal: string, bytes: Uint8Array) => Check) => {
    const bytes = seals.get(suffix);
    if (!bytes) return;
    const seal = suffix === ROOT_SUMS ? checksumPath(path) : path + suffix;
    if (can) checks.push({ seal, check: make(seal, bytes) });
    else unjudged.push(seal);
  };
  // 1. As iPXE takes it, but to the day; by one of the codesigning certificates where those are given.
  const inside = { ...imgverifyRules(ca), margin: 0 };
  const leaf = leafRules(codesign, ca);
  add(SEAL.ipxe, ca.length > 0, (seal, bytes) =>
    cmsCheck(seal, bytes, codesign.length > 0 ? leaf : inside, policy, now),
  );
  // 2. As early userspace takes it, and for code: its own tool asks for no purpose.
  const signers = codesign.length > 0 ? codesign : brought;
  add(SEAL.cms, ca.length > 0, (seal, bytes) => cmsCheck(seal, bytes, leafRules(signers, ca), policy, now));
  // 3. By a key of the curated keyring.
  add(SEAL.openpgp, openpgp.length > 0, (seal, bytes) => openpgpCheck(seal, bytes, openpgp, policy, now));
  // 4. What sums say of it.
  const name = path.slice(path.lastIndexOf('/') + 1);
  add(ROOT_SUMS, true, (seal, bytes) => checksumCheck(seal, bytes, name));
  for (const { name: seal, bytes, hash, signer, paths } of sums)
    if (paths.has(path)) checks.push({ seal, check: checksumCheck(seal, bytes, path, hash, signer) });
  return { checks, unjudged };
}

/**
 * Says no before a file is fetched, where no content could make it good: nothing that a key stands behind, a seal that
 * cannot be read, a signer who is a stranger, a certificate that has ended, a hash that is too weak.
 *
 * @throws Refusal
 */
export function demandSealable(
  path: string,
  { checks }: ArchChecks,
  sums: readonly ArchSums[],
  { pins }: Policy,
): void {
  const listed = sums.some(({ signer, paths }) => signer !== '' && paths.has(path));
  if (!listed && !checks.some(({ check: { name } }) => name === 'cms' || name === 'openpgp'))
    throw new Refusal(
      'no-verdict',
      `Nothing that these anchors can judge vouches for ${path}: no signature of it is there.`,
      { path },
    );
  for (const { check } of checks) {
    if (check.lost) throw check.lost;
    try {
      check.beforehand?.('');
    } catch (error) {
      // A pin speaks for one content, and that is not here yet.
      if (error instanceof Refusal && error.code === 'weak-algorithm' && pins.length > 0) continue;
      throw error;
    }
  }
}

/** Certificates inside a CMS seal. @throws Refusal `malformed`. */
export function certificatesIn(what: string, bytes: Uint8Array): readonly Certificate[] {
  return decodeOr(what, () => decodeDetachedCms(bytes)).certificates;
}
