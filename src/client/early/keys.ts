import { decodeKeybox } from '../../formats/keybox.ts';
import type { Certificate } from '../../formats/x509.ts';
import { Refusal } from '../../release/refusal.ts';
import { decodeCertificates } from '../../trust/anchors.ts';
import { decodeOr } from '../../trust/check.ts';
import { decodeOpenpgpCertificates, type OpenpgpCertificate } from '../../trust/openpgp-certificate.ts';
import type { InitramfsTree } from '../initramfs-tree.ts';

/**
 * The keys that early userspace has: those inside its initramfs, and no others. On 2021-11-01 Arch shipped
 * one without them; what is absent here is a refusal, never a fallback to the loader's anchors.
 */
export class EarlyKeys {
  /** Which files of an initramfs must be kept to read its keys: a keyring may be some MiB. */
  static keep(path: string, size: number): boolean {
    if (size > 16 * 1024 * 1024) return false;
    return path.startsWith('gpg/') || path.startsWith('bootseal/') || /^codesign(_CA)?\.crt$/.test(path);
  }

  readonly #tree: InitramfsTree;

  constructor(tree: InitramfsTree) {
    this.#tree = tree;
  }

  get hasCodesign(): boolean {
    return this.#tree.exists('codesign.crt');
  }

  get hasOpenpgp(): boolean {
    return this.#tree.exists('gpg/pubring.kbx') || this.#tree.exists('gpg/pubring.gpg');
  }

  /** `/codesign.crt`: the certificates whose CMS seals are taken (`-nointern -certfile`). */
  codesign(): readonly Certificate[] {
    return this.#certificates('codesign.crt') ?? this.#missing('codesign.crt');
  }

  /** `/codesign_CA.crt`; without one archiso passes `/codesign.crt` as its own CA. */
  ca(): readonly Certificate[] {
    return this.#certificates('codesign_CA.crt') ?? [];
  }

  /** `/gpg`, a GnuPG home: the keybox where there is one, as gpg 2.1 and later prefer it. */
  openpgp(): readonly OpenpgpCertificate[] {
    const keybox = this.#read('gpg/pubring.kbx');
    if (keybox) {
      return decodeOr('/gpg/pubring.kbx', () =>
        decodeKeybox(keybox).flatMap((blob) => decodeOpenpgpCertificates(blob)),
      );
    }
    const keyring = this.#read('gpg/pubring.gpg');
    if (keyring) return decodeOr('/gpg/pubring.gpg', () => decodeOpenpgpCertificates(keyring));
    return this.#missing('gpg/pubring.kbx');
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
