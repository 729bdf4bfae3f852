import { Refusal } from '../../errors/refusal.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { decodeKeybox } from '../../formats/openpgp/keybox.ts';
import { POLICY_FLOOR_PATH } from '../../formats/records/policy-floor.ts';
import { decodeCertificates } from '../../trust/anchors.ts';
import { decodeOr } from '../../trust/check.ts';
import { decodeOpenpgpCertificates, type OpenpgpCertificate } from '../../trust/openpgp-certificate.ts';
import type { InitramfsTree } from '../initramfs-tree.ts';
import { startsOverlay } from './parameters.ts';

/** Where the keys for payload lie in an early userspace. */
interface Places {
  readonly codesign: string;
  readonly ca: string;
  /** A GnuPG home's; the first that is there. */
  readonly keybox?: string;
  readonly keyring: string;
  /** Without this program no OpenPGP seal is looked at. */
  readonly gpg?: string;
}

const ARCHISO: Places = {
  codesign: 'codesign.crt',
  ca: 'codesign_CA.crt',
  keybox: 'gpg/pubring.kbx',
  keyring: 'gpg/pubring.gpg',
};

const OVERLAY: Places = {
  codesign: 'bootseal/anchors/codesign.crt',
  ca: 'bootseal/anchors/ca.crt',
  keyring: 'bootseal/anchors/pubring.gpg',
  gpg: 'bootseal/bin/gpg',
};

/** The keys for records lie here in every one of them; archiso as it is has none. */
const MANIFEST = { certificates: 'bootseal/manifest.crt', keyring: 'bootseal/manifest.gpg' } as const;

const READ: readonly string[] = [
  POLICY_FLOOR_PATH,
  ...Object.values(MANIFEST),
  ...[ARCHISO, OVERLAY].flatMap(({ codesign, ca, keybox = [], keyring }) =>
    [codesign, ca, keybox, keyring].flat(),
  ),
];

/**
 * The keys that early userspace has: those inside its initramfs or its overlay, and no others. On 2021-11-01 Arch
 * shipped one without them; what is absent here is a refusal, never a fallback to the loader's anchors.
 */
export class EarlyKeys {
  /** What of an initramfs must be kept to read its keys and its policy floor: a keyring may be some MiB. */
  static readonly reading = {
    keep: (path: string, size: number): boolean => size <= 16 * 1024 * 1024 && READ.includes(path),
    asked: READ,
  };

  /** Those of the initramfs itself, where mkinitcpio-archiso puts them. */
  static ofArchiso(tree: InitramfsTree): EarlyKeys {
    return new EarlyKeys(tree, ARCHISO);
  }

  /** Those of an overlay. */
  static ofOverlay(tree: InitramfsTree): EarlyKeys {
    return new EarlyKeys(tree, OVERLAY);
  }

  /** Those of whatever the kernel starts by this command line. */
  static of(tree: InitramfsTree, cmdline: string): EarlyKeys {
    return startsOverlay(cmdline) ? EarlyKeys.ofOverlay(tree) : EarlyKeys.ofArchiso(tree);
  }

  readonly #tree: InitramfsTree;
  readonly #places: Places;

  private constructor(tree: InitramfsTree, places: Places) {
    this.#tree = tree;
    this.#places = places;
  }

  get hasCodesign(): boolean {
    return this.#tree.exists(this.#places.codesign);
  }

  get hasOpenpgp(): boolean {
    const { gpg, keybox, keyring } = this.#places;
    if (gpg !== undefined && !this.#tree.exists(gpg)) return false;
    return [keybox, keyring].some((path) => path !== undefined && this.#tree.exists(path));
  }

  /** Whether it could verify a manifest at all. */
  get canVerifyManifest(): boolean {
    return this.hasManifest || this.hasManifestKeyring;
  }

  get hasManifest(): boolean {
    return this.#tree.exists(MANIFEST.certificates);
  }

  get hasManifestKeyring(): boolean {
    const { gpg } = this.#places;
    return (gpg === undefined || this.#tree.exists(gpg)) && this.#tree.exists(MANIFEST.keyring);
  }

  /** The certificates whose CMS seals of records are taken, and no others. */
  manifest(): readonly Certificate[] {
    return this.#certificates(MANIFEST.certificates) ?? this.#missing(MANIFEST.certificates);
  }

  manifestKeyring(): readonly OpenpgpCertificate[] {
    const bytes = this.hasManifestKeyring ? this.#read(MANIFEST.keyring) : undefined;
    if (!bytes) return this.#missing(MANIFEST.keyring);
    return decodeOr(`/${MANIFEST.keyring}`, () => decodeOpenpgpCertificates(bytes));
  }

  /** The certificates whose CMS seals of payload are taken (archiso: `/codesign.crt`, by `-nointern -certfile`). */
  codesign(): readonly Certificate[] {
    const { codesign } = this.#places;
    return this.#certificates(codesign) ?? this.#missing(codesign);
  }

  /** Their CA; without one archiso passes `/codesign.crt` as its own CA. */
  ca(): readonly Certificate[] {
    return this.#certificates(this.#places.ca) ?? [];
  }

  /** archiso's `/gpg` is a GnuPG home: the keybox where there is one, as gpg 2.1 and later prefer it. */
  openpgp(): readonly OpenpgpCertificate[] {
    const { keybox = '', keyring } = this.#places;
    if (!this.hasOpenpgp) return this.#missing(keyring);
    const blobs = keybox === '' ? undefined : this.#read(keybox);
    if (blobs) {
      return decodeOr(`/${keybox}`, () =>
        decodeKeybox(blobs).flatMap((blob) => decodeOpenpgpCertificates(blob)),
      );
    }
    const certificates = this.#read(keyring);
    if (certificates) return decodeOr(`/${keyring}`, () => decodeOpenpgpCertificates(certificates));
    return this.#missing(keyring);
  }

  #certificates(path: string): readonly Certificate[] | undefined {
    const bytes = this.#read(path);
    return bytes && decodeCertificates(`/${path}`, bytes);
  }

  #read(path: string): Uint8Array | undefined {
    return this.#tree.exists(path) ? this.#tree.read(path) : undefined;
  }

  #missing(path: string): never {
    throw new Refusal('absent', `The initramfs holds no /${path}: it cannot verify what it boots.`, {
      path: `/${path}`,
    });
  }
}
