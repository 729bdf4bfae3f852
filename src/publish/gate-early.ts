import { EarlyKeys } from '../emulator/early/keys.ts';
import { readPolicyFloor } from '../emulator/early/manifest.ts';
import { startsOverlay } from '../emulator/early/parameters.ts';
import { readInitramfs } from '../emulator/initramfs.ts';
import type { InitramfsTree } from '../emulator/initramfs-tree.ts';
import type { Transport } from '../emulator/transport.ts';
import { Refusal } from '../errors/refusal.ts';
import { calledOf } from '../formats/asn1/certificate-name.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';
import { REQUIRED_CHECKS, type RequiredCheck } from '../formats/records/policy-floor.ts';
import { RECORD, SEAL } from '../formats/records/seal-names.ts';
import { lastValue } from '../formats/script/cmdline.ts';
import type { Anchors } from '../trust/anchors.ts';
import { decodeOr } from '../trust/check.ts';
import type { OpenpgpCertificate } from '../trust/openpgp-certificate.ts';
import type { PublishRules } from '../trust/policy-file.ts';
import { isSignedBy } from '../trust/tree-keys.ts';

/** What the gate asks of the early userspace that a release starts: archiso's, or that of its overlay. */

export interface EarlyUserspace {
  readonly initramfs: InitramfsTree;
  readonly keys: EarlyKeys;
  /** Whether the kernel starts the overlay's init. */
  readonly overlay: boolean;
}

/** Reads the initrds of a release when it is first asked, and once. */
export function earlyUserspaceOf(
  manifest: Manifest,
  transport: Transport,
  url: (path: string) => string,
): () => Promise<EarlyUserspace> {
  let read: Promise<EarlyUserspace> | undefined;
  return () => {
    read ??= readEarlyUserspace(manifest, transport, url);
    return read;
  };
}

async function readEarlyUserspace(
  manifest: Manifest,
  transport: Transport,
  url: (path: string) => string,
): Promise<EarlyUserspace> {
  const of = (role: string) => manifest.files.filter((file) => file.role === role);
  // The kernel unpacks them in this order, and what comes later replaces what came before.
  const initrds = [...of('initrd'), ...of('overlay')];
  const parts: Uint8Array[] = [];
  for (const { path } of initrds) {
    const pieces: Uint8Array[] = [];
    for await (const piece of (await transport.fetch(url(path))).body) pieces.push(piece);
    parts.push(Buffer.concat(pieces));
  }
  const names = initrds.map(({ path }) => path);
  const initramfs = await readInitramfs(parts, { ...EarlyKeys.reading, names });
  const cmdline = linuxOf(manifest).cmdline.join(' ');
  return { initramfs, keys: EarlyKeys.of(initramfs, cmdline), overlay: startsOverlay(cmdline) };
}

/**
 * That early userspace holds the keys whose seals it will look at: those beside the root image, and beside the manifest
 * where an overlay is started. That the anchors hold them too is not enough: after a rotation they hold old and new.
 *
 * @param records records and seals, as they were verified.
 */
export async function keysInside(
  manifest: Manifest,
  records: ReadonlyMap<string, Uint8Array>,
  anchors: Anchors,
  early: () => Promise<EarlyUserspace>,
): Promise<string> {
  const root = manifest.files.find(({ role }) => role === 'rootfs');
  if (!root) return 'no root image, so none is needed';
  const { keys, overlay } = await early();
  if (!overlay && manifest.layout !== 'archiso') return `${manifest.layout} asks for none, whatever it holds`;
  const where = overlay ? 'overlay' : 'initramfs';
  const payload = demandHolder({ file: 'codesign.crt', held: keys.codesign() }, root.path, records, where);
  // archiso as it is has no key for records, and the next question says what that means.
  const manifestBy =
    overlay || keys.hasManifest
      ? demandHolder({ file: 'manifest.crt', held: keys.manifest() }, RECORD.manifest, records, where)
      : undefined;
  const ids: string[] = [];
  if (!overlay) {
    const ring = { file: '/gpg', held: keys.openpgp(), known: anchors.openpgp.payload };
    ids.push(demandOpenpgp(ring, root.path + SEAL.openpgp, records, where));
  }
  // An overlay without gpg looks at CMS seals alone, and what it must look at is the next question.
  if (keys.hasManifestKeyring) {
    const ring = { file: 'manifest.gpg', held: keys.manifestKeyring(), known: anchors.openpgp.manifest };
    ids.push(demandOpenpgp(ring, RECORD.manifest + SEAL.openpgp, records, where));
  }
  const all = [payload, ...(manifestBy === undefined ? [] : [manifestBy])].join(', ');
  const both = ids.length > 0 ? `${all} and OpenPGP ${ids.join(', ')}` : all;
  return overlay ? `${both}, in the overlay` : both;
}

/** The file of an early userspace that holds keys, and what is in it. */
interface HeldKeys<T> {
  readonly file: string;
  readonly held: readonly T[];
}

function demandHolder(
  { file, held }: HeldKeys<Certificate>,
  of: string,
  records: ReadonlyMap<string, Uint8Array>,
  where: string,
): string {
  const seal = of + SEAL.cms;
  const bytes = records.get(seal) ?? new Uint8Array();
  const { signers } = decodeOr(seal, () => decodeDetachedCms(bytes));
  const found = signers.map((info) => held.find((certificate) => isSignedBy(info, certificate)));
  const [first] = found;
  if (first && !found.includes(undefined)) return calledOf(first);
  const has = held.map(calledOf).join(', ') || 'none';
  throw new Refusal(
    'untrusted-signer',
    `The ${file} in the ${where} (${has}) is not the certificate that ${seal} is by.`,
    { path: file, seal },
  );
}

function demandOpenpgp(
  { file, held, known }: HeldKeys<OpenpgpCertificate> & { readonly known: readonly OpenpgpCertificate[] },
  seal: string,
  records: ReadonlyMap<string, Uint8Array>,
  where: string,
): string {
  const bytes = records.get(seal) ?? new Uint8Array();
  const wanted = decodeOr(seal, () => decodeDetachedOpenpgp(bytes)).map(
    ({ issuerFingerprint, issuerKeyId }) => issuerFingerprint?.slice(-16) ?? issuerKeyId ?? '',
  );
  const ids = (from: readonly OpenpgpCertificate[]) =>
    from.flatMap((certificate) => certificate.keys.map(({ key }) => key.keyId));
  const missing = wanted.find((id) => !ids(held).includes(id));
  if (missing === undefined && wanted.some((id) => ids(known).includes(id))) return wanted.join(', ');
  throw new Refusal(
    'untrusted-signer',
    `The keyring in the ${where} (${file}) does not hold the OpenPGP key ${missing ?? wanted.join()}, which ${seal} is by.`,
    { path: file, seal },
  );
}

const ASKED_BY = { checksum: 'checksum', openpgp: 'verify', cms: 'cms_verify' } as const;

/** What an overlay checks whatever it is told: its manifest by CMS, and by digests all that this one lists. */
const OF_EVERY_OVERLAY: readonly RequiredCheck[] = ['manifest', 'checksum', 'cms'];

/** That early userspace makes every check which the policy asks for. */
export async function whatIsChecked(
  manifest: Manifest,
  rules: PublishRules,
  userspace: () => Promise<EarlyUserspace>,
): Promise<string> {
  if (!manifest.files.some(({ role }) => role === 'rootfs')) return 'no root image to check';
  const early = await userspace();
  if (!early.overlay && manifest.layout !== 'archiso') return `${manifest.layout} takes no orders of ours`;
  return early.overlay ? checkedByOverlay(rules, early) : askedFor(manifest, rules, early.keys);
}

function askedFor(manifest: Manifest, { require = REQUIRED_CHECKS }: PublishRules, keys: EarlyKeys): string {
  for (const check of require) {
    if (check === 'manifest') continue;
    const word = ASKED_BY[check];
    if (lastValue(linuxOf(manifest).cmdline, word) === 'y') continue;
    throw new Refusal(
      'wrong-command-line',
      `The command line of ${manifest.release} does not ask for ${check} (${word}=y), which the policy requires.`,
      { check, word },
    );
  }
  const asked = `asks for ${require.filter((check) => check !== 'manifest').join(', ')}`;
  return keys.canVerifyManifest
    ? `${asked}; names its manifest`
    : `${asked}; nobody on the machine verifies the command line, since its initramfs holds no manifest.crt`;
}

function checkedByOverlay(
  { require = OF_EVERY_OVERLAY }: PublishRules,
  { initramfs, keys }: EarlyUserspace,
): string {
  const { mode = 'verity' } = readPolicyFloor(initramfs);
  const made = new Set<RequiredCheck>([
    ...OF_EVERY_OVERLAY,
    ...(keys.hasManifestKeyring ? ['openpgp' as const] : []),
  ]);
  const missing = require.find((check) => !made.has(check));
  if (missing !== undefined) {
    throw new Refusal(
      'absent',
      `The overlay cannot check ${missing}, which the policy requires; build it with "bootseal overlay --require ${missing}".`,
      { check: missing },
    );
  }
  return `starts the overlay, mode ${mode}: manifest by ${keys.hasManifestKeyring ? 'CMS and OpenPGP' : 'CMS'}, the root image by its digests`;
}
