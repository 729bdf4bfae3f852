import { dirname, join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { measureBeneath, openBeneath, removeTemporariesBeneath, writeBeneath } from '../files/beneath.ts';
import { demandSameFile } from '../files/file-identity.ts';
import type { MeasuredFile } from '../files/measure.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { encodeSignature } from '../formats/openpgp/openpgp-signature.ts';
import { isOpenpgpKey, isOwnLeaf, type KeyName, OPENPGP_KEYS } from './seal-keys.ts';
import { cmsSeal } from './seal-plan.ts';
import { betweenOf, chainOf, type LoaderSignatories, type Signatories } from './signatories.ts';
import type { OtherCa } from './site-plans.ts';
import { type DraftFile, type LackingSeal, readExisting } from './tree-draft.ts';

/** One file that sealing answers for. */
export interface SealedFile {
  /** Relative to the tree. */
  readonly path: string;
  readonly outcome: 'written' | 'kept';
}

/** The certificates of a tree's seals, those of its release leaves among them. */
export class SealCertificates {
  readonly #own: Signatories;
  readonly #others: ReadonlyMap<string, LoaderSignatories>;
  readonly #leaves: ReadonlyMap<KeyName, Certificate>;

  constructor(
    own: Signatories,
    others: readonly OtherCa[] = [],
    leaves: ReadonlyMap<KeyName, Certificate> = new Map(),
  ) {
    this.#own = own;
    this.#others = new Map(others.map(({ id, signatories }) => [`-${id}`, signatories]));
    this.#leaves = leaves;
  }

  /** The seal that a signature makes whole. The signature is not judged here. */
  complete({ by, seal }: Pick<LackingSeal, 'by' | 'seal'>, signature: Uint8Array): Uint8Array {
    if (seal.form === 'openpgp') {
      if (!isOpenpgpKey(by)) throw new RangeError(`${by} is no OpenPGP key`);
      const { keyId } = this.#own.openpgp[OPENPGP_KEYS[by]];
      return encodeSignature(seal.hashed, keyId, seal.digest, signature);
    }
    if (isOwnLeaf(by)) return cmsSeal(this.#own[by], betweenOf(this.#own), signature);
    const loader = this.#others.get(by.replace(/^(boot|leaf)/, '')) ?? this.#own;
    const certificate = by.startsWith('boot') ? loader.boot : this.#leaves.get(by);
    if (!certificate) throw new RangeError(`no certificate for the key ${by}`);
    return cmsSeal(certificate, [certificate.raw, ...chainOf(loader)], signature);
  }
}

/**
 * Writes what a sealed tree lacks, each file whole; what stands there already byte for byte is left alone.
 *
 * @param measured artifacts as they were read: what was signed must still be what stands there.
 * @throws Refusal `drifted`; an `IoError`.
 */
export async function writeSeals(
  tree: string,
  files: readonly DraftFile[],
  seals: ReadonlyMap<string, Uint8Array>,
  measured: readonly { readonly path: string; readonly file: MeasuredFile }[],
): Promise<SealedFile[]> {
  const outputs: { path: string; bytes: Uint8Array | undefined }[] = [];
  for (const file of files) {
    if (file.kind === 'made') {
      const holds = await standsAlready(tree, file);
      outputs.push({ path: file.path, bytes: holds ? undefined : Buffer.concat(file.pieces) });
      continue;
    }
    const bytes = file.kind === 'record' ? file.bytes : seals.get(file.path);
    if (!bytes && file.kind !== 'kept') throw new RangeError(`${file.path} has no seal`);
    const standing = bytes && (await readExisting(tree, file.path));
    const same = bytes && standing && Buffer.compare(bytes, standing) === 0;
    outputs.push({ path: file.path, bytes: same ? undefined : bytes });
  }
  for (const { path, file } of measured) await demandUnchanged(tree, path, file);
  for (const folder of new Set(outputs.map(({ path }) => dirname(path))))
    await removeTemporariesBeneath(tree, folder);
  for (const { path, bytes } of outputs) if (bytes) await writeBeneath(tree, path, bytes);
  return outputs.map(({ path, bytes }) => ({ path, outcome: bytes ? 'written' : 'kept' }));
}

/** Whether a hash tree is there, byte for byte. One too large to be kept in memory twice is read in pieces. */
async function standsAlready(
  tree: string,
  { path, sha256 }: Extract<DraftFile, { kind: 'made' }>,
): Promise<boolean> {
  try {
    const { answers } = await measureBeneath(tree, path, [{ kind: 'digest', hash: 'sha256' }]);
    return Buffer.from(answers[0] as Uint8Array).toString('hex') === sha256;
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return false;
    throw error;
  }
}

async function demandUnchanged(tree: string, path: string, { identity }: MeasuredFile): Promise<void> {
  const now = await openBeneath(tree, path);
  await now.handle.close().catch(() => {});
  demandSameFile(join(tree, path), identity, now.identity);
}
