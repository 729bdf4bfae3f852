import type { SignedData } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { existingLeaf, type LeafTerms } from './keys/release-leaf.ts';
import { isOpenpgpKey, isOwnLeaf, type KeyName, type LoaderKeyName, OPENPGP_KEYS } from './seal-keys.ts';
import { planCms, planOpenpgp, type SealPlan } from './seal-plan.ts';
import { betweenOf, chainOf, type LoaderSignatories, type Signatories } from './signatories.ts';

/** Another CA whose loaders shall start a release too, while a CA is being replaced. */
export interface OtherCa {
  /** First 16 hex digits of the SHA-256 of the certificate that its loaders trust. */
  readonly id: string;
  readonly signatories: LoaderSignatories;
}

/** Plans the seals of one site: each is by the key that its name says, with the chain that its verifiers need. */
export class SitePlans {
  readonly #own: Signatories;
  readonly #loaders: ReadonlyMap<string, LoaderSignatories>;

  constructor(own: Signatories, others: readonly OtherCa[] = []) {
    this.#own = own;
    this.#loaders = new Map([
      ['', own],
      ...others.map(({ id, signatories }) => [`-${id}`, signatories] as const),
    ]);
  }

  /** @param existing the seal that stands there, which is kept where it is as it should be. */
  plan(by: KeyName, existing: Uint8Array | undefined, terms: LeafTerms): SealPlan {
    if (isOpenpgpKey(by)) return planOpenpgp(existing, this.#own.openpgp[OPENPGP_KEYS[by]], terms.issued);
    if (isOwnLeaf(by)) return planCms(existing, byOwn(this.#own[by], betweenOf(this.#own)));
    const loader = this.loader(by);
    return planCms(
      existing,
      by.startsWith('boot')
        ? byOwn(loader.boot, [loader.boot.raw, ...chainOf(loader)])
        : (data) => existingLeaf(data, loader, terms),
    );
  }

  /** The CA of a boot key or release leaf. */
  loader(by: LoaderKeyName): LoaderSignatories {
    const of = this.#loaders.get(by.replace(/^(boot|leaf)/, ''));
    if (!of) throw new RangeError(`no CA for the key ${by}`);
    return of;
  }
}

/** Whether an existing seal is by one of the site's own certificates, with exactly this chain inside. */
function byOwn(
  certificate: Certificate,
  chain: readonly Uint8Array[],
): (data: SignedData) => Certificate | undefined {
  return ({ signers: [info], certificates }) =>
    info &&
    Buffer.compare(info.issuer, certificate.issuer) === 0 &&
    Buffer.compare(info.serialNumber, certificate.serialNumber) === 0 &&
    certificates.length === chain.length &&
    // Every one of them: iPXE builds its chain from these bytes and no others.
    certificates.every(({ raw }) => chain.some((wanted) => Buffer.compare(raw, wanted) === 0))
      ? certificate
      : undefined;
}
