import { randomBytes } from 'node:crypto';
import type { SignedData } from '../formats/cms.ts';
import { type Certificate, decodeCertificate } from '../formats/x509.ts';
import type { Question } from '../release/measurer.ts';
import { issueCertificate } from './certificate.ts';
import type { CertifiedKey, Keys } from './key-folder.ts';
import { newKeyPair } from './key-pair.ts';
import { readProfile } from './profiles.ts';
import { isIssuedBy } from './seal-plan.ts';
import { type CmsSigner, keySigner } from './signer.ts';

const DAY = 86_400_000;

/**
 * The leaf that signs one release for iPXE. Its common name is the release id, which the boot script demands:
 * that is what stops an old kernel with its old valid signature. The private key lives in this object
 * and nowhere else.
 */
export class ReleaseLeaf {
  readonly #ca: CertifiedKey;
  readonly #release: string;
  readonly #issued: number;
  readonly #bestBefore: number;
  readonly #rsaBits: number | undefined;
  #signer: Promise<CmsSigner> | undefined;

  constructor(
    { ca }: Pick<Keys, 'ca'>,
    release: string,
    issued: number,
    bestBefore: number,
    rsaBits?: number,
  ) {
    this.#ca = ca;
    this.#release = release;
    this.#issued = issued;
    this.#bestBefore = bestBefore;
    this.#rsaBits = rsaBits;
  }

  /** Minted at the first call. */
  signer = (): Promise<CmsSigner> => {
    this.#signer ??= this.#mint();
    return this.#signer;
  };

  /** P-256 signs while it reads, so its leaf must exist beforehand; RSA mints only when a seal is missing. */
  async question(): Promise<Question> {
    const rsa = this.#ca.privateKey.asymmetricKeyType === 'rsa';
    return rsa ? { kind: 'digest', hash: 'sha256' } : (await this.signer()).question;
  }

  /** The certificate of an existing seal's signer, when it is a leaf of this release that lasts long enough. */
  wanted = (data: SignedData): Certificate | undefined => {
    const [info] = data.signers;
    const ca = this.#ca.certificate;
    const leaf = data.certificates.find(
      (certificate) =>
        info &&
        Buffer.compare(certificate.issuer, info.issuer) === 0 &&
        Buffer.compare(certificate.serialNumber, info.serialNumber) === 0,
    );
    const chainInside = data.certificates.some(
      (certificate) => Buffer.compare(certificate.raw, ca.raw) === 0,
    );
    const fits =
      leaf &&
      chainInside &&
      leaf.commonName === this.#release &&
      leaf.notBefore <= this.#issued &&
      leaf.notAfter >= Math.min(this.#bestBefore, ca.notAfter) &&
      isIssuedBy(leaf, ca);
    return fits ? leaf : undefined;
  };

  async #mint(): Promise<CmsSigner> {
    const { certificate: ca, privateKey } = this.#ca;
    const profile = readProfile('release');
    const kind = privateKey.asymmetricKeyType === 'rsa' ? 'rsa' : 'p256';
    const pair = await newKeyPair(kind, this.#rsaBits ?? profile.rsa_bits);
    const raw = issueCertificate({
      profile,
      commonName: this.#release,
      publicKey: pair.publicKey,
      // Backdated for clocks in local time; never longer than the CA that stands behind it.
      notBefore: this.#issued - DAY,
      notAfter: Math.min(this.#bestBefore + profile.days * DAY, ca.notAfter),
      serial: randomBytes(16),
      issuer: ca,
      issuerKey: privateKey,
    });
    return keySigner({ certificate: decodeCertificate(raw), privateKey: pair.privateKey }, [raw, ca.raw]);
  }
}
