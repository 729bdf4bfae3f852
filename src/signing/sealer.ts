import type { Certificate } from '../formats/asn1/x509.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import type { Layout } from '../release/layout.ts';
import type { KeyPair, MakeKeyPair } from './keys/key-pair.ts';
import { leafKeyPair } from './keys/leaf-key-pair.ts';
import { type LeafOrder, mintLeaf } from './keys/release-leaf.ts';
import { isLeaf, isOpenpgpKey, type KeyName } from './seal-keys.ts';
import {
  byOpenpgpKey,
  type CertifiedSigner,
  type LoaderSealingKeys,
  type SealingKeys,
  signatoriesOf,
} from './signatories.ts';
import { type DigestSigner, demandSignature, tryOut } from './signers/digest-signer.ts';
import type { OtherCa } from './site-plans.ts';
import { type DraftOptions, draftTree, type LackingSeal, type TreeDraft } from './tree-draft.ts';
import { SealCertificates, type SealedFile, writeSeals } from './write-seals.ts';

export interface SealOptions extends Omit<DraftOptions, 'others'> {
  /** Other CAs whose loaders shall start this release too: iPXE seals once more, by their keys. */
  readonly others?: readonly OtherSealingCa[];
  /** Makes the release leaves' keys; default: OpenSSL. */
  readonly makeKeyPair?: MakeKeyPair;
}

export interface OtherSealingCa {
  /** First 16 hex digits of its SHA-256. */
  readonly id: string;
  readonly keys: LoaderSealingKeys;
}

export interface Sealed {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly files: readonly SealedFile[];
}

/**
 * Seals a tree. Every artifact is read once; nothing is written before all of them have been read and every
 * signature made, and each file then appears whole.
 *
 * Throws a `Refusal` (`drifted` for an artifact that changes meanwhile, and what signers say) or an `IoError`.
 */
export async function sealTree(
  tree: string,
  layout: Layout,
  keys: SealingKeys,
  options: SealOptions,
): Promise<Sealed> {
  const { others = [], makeKeyPair, ...rest } = options;
  const otherCas = otherCasOf(others);
  const signing = new Signing(keys, others, makeKeyPair);
  await signing.tryOut();
  const signatories = signatoriesOf(keys);
  const draft = await draftTree(tree, layout, signatories, {
    ...rest,
    others: otherCas,
    onLeaf: (name, order) => signing.expectLeaf(name, order),
  });
  const seals = await signing.signDraft(draft);
  const files = await writeSeals(tree, draft.files, seals, draft.measured);
  return { manifest: draft.manifest, manifestSha256: draft.manifestSha256, files };
}

/** The public halves of other CAs. */
export function otherCasOf(others: readonly OtherSealingCa[]): OtherCa[] {
  return others.map(({ id, keys: { ca, above, boot } }) => ({
    id,
    signatories: { ca: ca.certificate, above, boot: boot.certificate },
  }));
}

/** Who signs for each key. */
export class Signing {
  readonly #keys: SealingKeys;
  readonly #others: readonly OtherSealingCa[];
  readonly #signers: ReadonlyMap<KeyName, DigestSigner>;
  readonly #cas: ReadonlyMap<string, LoaderSealingKeys['ca']>;
  readonly #makeKeyPair: MakeKeyPair;
  /** Keys that are being made while the tree is read. */
  readonly #expected = new Map<KeyName, { readonly order: LeafOrder; readonly pair: Promise<KeyPair> }>();

  constructor(keys: SealingKeys, others: readonly OtherSealingCa[], makeKeyPair: MakeKeyPair = leafKeyPair) {
    this.#makeKeyPair = makeKeyPair;
    this.#keys = keys;
    this.#others = others;
    this.#signers = new Map<KeyName, DigestSigner>([
      ['codesign', keys.codesign.signer],
      ['manifest', keys.manifest.signer],
      ...byOpenpgpKey(keys.openpgp).map(([name, { signer }]) => [name, signer] as const),
      ['boot', keys.boot.signer],
      ...others.map((other) => [`boot-${other.id}`, other.keys.boot.signer] as const),
    ]);
    this.#cas = new Map([
      ['leaf', keys.ca],
      ...others.map((other) => [`leaf-${other.id}`, other.keys.ca] as const),
    ]);
  }

  /** A token that was pulled out is found before an hour of reading, not after. */
  async tryOut(): Promise<void> {
    for (const [name, signer] of this.#signers)
      await tryOut(signer, isOpenpgpKey(name) ? 'sha512' : 'sha256');
    for (const { signer } of this.#cas.values()) await tryOut(signer, 'sha256');
  }

  /** Begins to make the key of a leaf that a draft is going to need: finding primes takes as long as reading does. */
  expectLeaf(name: KeyName, order: LeafOrder): void {
    const pair = this.#makeKeyPair(order.kind, order.bits);
    // Nobody may ask for it: another fault comes first. Whoever does hears this one, too.
    pair.catch(() => {});
    this.#expected.set(name, { order, pair });
  }

  /** Every seal that a draft lacks, by path; its release leaves are minted for it, and their keys thrown away. */
  async signDraft(draft: TreeDraft): Promise<ReadonlyMap<string, Uint8Array>> {
    const lacking = draft.files.filter((file) => file.kind === 'lacking');
    const seals = new Map<string, Uint8Array>();
    const leaves = new Map<KeyName, Certificate>();
    const certificates = new SealCertificates(signatoriesOf(this.#keys), otherCasOf(this.#others), leaves);
    const sign = async (file: LackingSeal, signer: DigestSigner | undefined) => {
      if (!signer) throw new RangeError(`no signer for ${file.by}`);
      const signature = await demandSignature(signer, file.seal.hash, file.seal.digest);
      seals.set(file.path, certificates.complete(file, signature));
    };
    // Keys that are there first: that of a leaf may still be in the making.
    for (const file of lacking) if (!isLeaf(file.by)) await sign(file, this.#signers.get(file.by));
    for (const [name, order] of draft.leaves) {
      const leaf = await this.#mint(name, order);
      leaves.set(name, leaf.certificate);
      for (const file of lacking) if (file.by === name) await sign(file, leaf.signer);
    }
    return seals;
  }

  #mint(name: KeyName, order: LeafOrder): Promise<CertifiedSigner> {
    const expected = this.#expected.get(name);
    this.#expected.delete(name);
    const suits = expected?.order.kind === order.kind && expected.order.bits === order.bits;
    return mintLeaf(order, this.#ca(name), suits ? () => expected.pair : this.#makeKeyPair);
  }

  #ca(leaf: KeyName): LoaderSealingKeys['ca'] {
    const ca = this.#cas.get(leaf);
    if (!ca) throw new RangeError(`no CA for ${leaf}`);
    return ca;
  }
}
