import { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { RECORD, SEAL } from '../formats/records/seal-names.ts';
import { type Anchors, NO_ANCHORS } from './anchors.ts';
import { decodeOr } from './check.ts';

/** Bytes. */
const MAX_SEAL = 64 * 1024;

/**
 * The CA that a tree's own boot script carries, for serving without anchors: the seals then agree with each
 * other, and nobody has said that they are the right ones. Whatever comes of it is labelled "unanchored".
 */
export async function readSelfAnchor(tree: Tree): Promise<Anchors> {
  const name = RECORD.bootIpxe + SEAL.openpgp;
  const bytes = await tree.read(name, MAX_SEAL).catch((error: unknown) => {
    if (!(error instanceof Refusal) || error.code !== 'absent') throw error;
    throw new Refusal('absent', `${tree.name} has no ${name}: it is not sealed. Run "bootseal seal" first.`, {
      path: name,
    });
  });
  const { certificates } = decodeOr(name, () => decodeDetachedCms(bytes));
  const ca = certificates.filter(({ issuer, subject }) => Buffer.compare(issuer, subject) === 0);
  const leaf = certificates.find(({ basicConstraints }) => !basicConstraints?.ca);
  if (ca.length !== 1)
    throw new Refusal('untrusted-signer', `${name} does not carry one CA.`, { found: ca.length });
  return { ...NO_ANCHORS, ca, bootSigner: leaf?.commonName };
}
