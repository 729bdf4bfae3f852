import { Refusal } from '../errors/refusal.ts';
import { readBeneathIfThere } from '../files/beneath.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { RECORD, SEAL } from '../formats/records/seal-names.ts';
import type { Anchors } from './anchors.ts';
import { decodeOr } from './check.ts';

/** Bytes of a seal. */
const LONGEST = 1024 * 1024;

/**
 * The CA that a tree's own boot script carries, for serving without anchors: the seals then agree with each
 * other, and nobody has said that they are the right ones. Whatever comes of it is labelled "unanchored".
 */
export async function readSelfAnchor(tree: string): Promise<Anchors> {
  const name = RECORD.bootIpxe + SEAL.openpgp;
  const bytes = await readBeneathIfThere(tree, name, LONGEST);
  if (!bytes) {
    throw new Refusal('absent', `${tree} has no ${name}: it is not sealed. Run "bootseal seal" first.`, {
      path: name,
    });
  }
  const { certificates } = decodeOr(name, () => decodeDetachedCms(bytes));
  const ca = certificates.filter(({ issuer, subject }) => Buffer.compare(issuer, subject) === 0);
  const leaf = certificates.find(({ issuer, subject }) => Buffer.compare(issuer, subject) !== 0);
  if (ca.length !== 1)
    throw new Refusal('untrusted-signer', `${name} does not carry one CA.`, { found: ca.length });
  return { ca, codesign: [], bootSigner: leaf?.commonName, openpgp: [] };
}
