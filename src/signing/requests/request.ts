import { createHash } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import { encodePem } from '../../formats/asn1/armor.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { encodePacket, PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import { encodeBundle } from '../../formats/records/request-bundle.ts';
import {
  encodeSigningRequest,
  type SignatureAlgorithm,
  type SigningRequest,
} from '../../formats/records/signing-request.ts';
import { type KeyName, OWN_LEAVES } from '../seal-keys.ts';
import type { UnsignedSeal } from '../seal-plan.ts';
import { byOpenpgpKey, type LoaderSignatories, type Signatories } from '../signatories.ts';
import type { OtherCa } from '../site-plans.ts';
import { readExisting, type TreeDraft } from '../tree-draft.ts';
import { certificateName, INDEX, openpgpName, questionName, textName } from './request-files.ts';

/**
 * Writes down what a draft lacks, to be carried to where the keys are: digests of payload, and the text of records and
 * scripts. No private key is needed; a request says what a seal will be in everything but its signature.
 */
export async function encodeRequest(
  tree: string,
  draft: TreeDraft,
  signatories: Signatories,
  others: readonly OtherCa[] = [],
): Promise<Uint8Array> {
  const certificates = certificatesOf(signatories, others);
  const openpgp = byOpenpgpKey(signatories.openpgp);
  const records = draft.files.filter((file) => file.kind === 'record');
  const isText = new Set(records.map(({ path }) => path));
  const lacking = draft.files.filter((file) => file.kind === 'lacking');
  const kept: { path: string; sha256: string }[] = [];
  for (const { kind, path } of draft.files) {
    if (kind !== 'kept') continue;
    const bytes = await readExisting(tree, path);
    if (!bytes) throw new Refusal('drifted', `${path} went away while the tree was being read.`, { path });
    kept.push({ path, sha256: sha256(bytes) });
  }
  const request: SigningRequest = {
    release: draft.manifest.release,
    manifestSha256: draft.manifestSha256,
    certificates: certificates.map(([key, { raw }]) => ({ key, sha256: sha256(raw) })),
    openpgp: openpgp.map(([key, { fingerprint }]) => ({ key, fingerprint })),
    leaves: [...draft.leaves].map(([key, order]) => ({
      key,
      kind: order.kind,
      bits: order.kind === 'rsa' ? order.bits : 256,
      notBefore: order.notBefore,
      notAfter: order.notAfter,
    })),
    records: records.map(({ path, bytes }) => ({ path, size: bytes.length, sha256: sha256(bytes) })),
    kept,
    signatures: lacking
      .filter(({ of }) => !isText.has(of))
      .map(({ path, of, size, by, seal }, at) => ({
        number: at + 1,
        key: by,
        algorithm: algorithmOf(seal, certificates, by),
        digest: Buffer.from(seal.digest).toString('hex'),
        size,
        suffix: path.slice(of.length),
        path: of,
      })),
    texts: lacking
      .filter(({ of }) => isText.has(of))
      .map(({ path, of, by, seal }) => ({
        key: by,
        algorithm: algorithmOf(seal, certificates, by),
        suffix: path.slice(of.length),
        path: of,
      })),
  };
  return encodeBundle(
    new Map([
      [INDEX, encodeSigningRequest(request)],
      ...certificates.map(
        ([key, { raw }]) => [certificateName(key), Buffer.from(encodePem('CERTIFICATE', raw))] as const,
      ),
      ...openpgp.map(([key, { body }]) => [openpgpName(key), encodePacket(PACKET.publicKey, body)] as const),
      ...onceEach(records).map(({ path, bytes }) => [textName(path), bytes] as const),
      ...request.signatures.map((asked) => [questionName(asked), Buffer.from(asked.digest, 'hex')] as const),
    ]),
  );
}

/** The same text for a thousand machines travels once. */
function onceEach<T extends { readonly bytes: Uint8Array }>(records: readonly T[]): T[] {
  return [
    ...new Map(records.toReversed().map((record) => [sha256(record.bytes), record])).values(),
  ].reverse();
}

function certificatesOf(own: Signatories, others: readonly OtherCa[]): [string, Certificate][] {
  const loader = (suffix: string, { ca, above, boot }: LoaderSignatories): [string, Certificate][] => [
    [`ca${suffix}`, ca],
    ...above.map((certificate, at): [string, Certificate] => [`ca.${at + 1}${suffix}`, certificate]),
    [`boot${suffix}`, boot],
  ];
  return [
    ...loader('', own),
    ...OWN_LEAVES.map((name): [string, Certificate] => [name, own[name]]),
    ...others.flatMap(({ id, signatories }) => loader(`-${id}`, signatories)),
  ];
}

/** A leaf is of the kind that its CA is. */
function algorithmOf(
  seal: UnsignedSeal,
  certificates: readonly (readonly [string, Certificate])[],
  by: KeyName,
): SignatureAlgorithm {
  if (seal.form === 'openpgp') return 'rsa-sha512';
  const holder = by.replace(/^leaf/, 'ca');
  const certificate = certificates.find(([key]) => key === holder)?.[1];
  if (!certificate) throw new RangeError(`no certificate for ${by}`);
  return certificate.key.type === 'rsa' ? 'rsa-sha256' : 'p256-sha256';
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
