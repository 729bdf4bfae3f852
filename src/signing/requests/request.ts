import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { decodePem, encodePem } from '../../formats/asn1/armor.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { decodeOpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { decodePackets, encodePacket, PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import { documentSignatureFields, signatureTrailer } from '../../formats/openpgp/openpgp-signature.ts';
import { decodeManifest, type Manifest } from '../../formats/records/manifest.ts';
import { decodeBundle, encodeBundle } from '../../formats/records/request-bundle.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import {
  decodeSigningRequest,
  encodeSigningRequest,
  type RequestedSignature,
  type SignatureAlgorithm,
  type SigningRequest,
  signatureNumber,
} from '../../formats/records/signing-request.ts';
import type { KeyName } from '../seal-keys.ts';
import type { UnsignedSeal } from '../seal-plan.ts';
import type { LoaderSignatories, Signatories } from '../signatories.ts';
import {
  type DraftFile,
  type LackingSeal,
  type OtherCa,
  readExisting,
  type TreeDraft,
} from '../tree-draft.ts';
import {
  demandCertificates,
  demandKeys,
  demandLeaves,
  demandRecords,
  demandSeals,
  type SealPlace,
  sealPlaces,
} from './request-rules.ts';

/**
 * Requests: what must be signed, carried to where the keys are. Nothing here holds a private key; a request
 * says what a seal will be in everything but its signature.
 */

/** The files of a bundle by whose names questions and answers find each other. */
export const INDEX = 'index';
export const questionName = ({ number, key }: RequestedSignature) =>
  `digests/${signatureNumber(number)}.${key}`;
export const answerName = (asked: RequestedSignature) => `${questionName(asked)}.sig`;
export const certificateName = (key: string) => `certificates/${key}.crt`;
const OPENPGP_KEY = 'certificates/openpgp.gpg';

/** A request that was read, and held against itself. */
export interface OpenedRequest {
  readonly request: SigningRequest;
  /** The index, byte for byte: two requests are one where it is the same. */
  readonly index: Uint8Array;
  readonly manifest: Manifest;
  readonly signatories: Signatories;
  readonly others: readonly OtherCa[];
  readonly files: readonly DraftFile[];
  /** Every seal of the release, asked for or standing, by its path. */
  readonly places: ReadonlyMap<string, SealPlace>;
  /** The asked signature of each seal that lacks one, by the seal's path. */
  readonly asked: ReadonlyMap<string, RequestedSignature>;
  readonly bundle: ReadonlyMap<string, Uint8Array>;
}

/** Writes down what a draft lacks. */
export async function encodeRequest(
  tree: string,
  draft: TreeDraft,
  signatories: Signatories,
  others: readonly OtherCa[] = [],
): Promise<Uint8Array> {
  const certificates = certificatesOf(signatories, others);
  const lacking = draft.files.filter((file) => file.kind === 'lacking');
  const records = draft.files.filter((file) => file.kind === 'record');
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
    openpgp: signatories.openpgp.fingerprint,
    leaves: [...draft.leaves].map(([key, order]) => ({
      key,
      kind: order.kind,
      bits: order.kind === 'rsa' ? order.bits : 256,
      notBefore: order.notBefore,
      notAfter: order.notAfter,
    })),
    records: records.map(({ path, bytes }) => ({ path, size: bytes.length, sha256: sha256(bytes) })),
    kept,
    signatures: lacking.map(({ path, of, size, by, seal }, at) => ({
      number: at + 1,
      key: by,
      algorithm: algorithmOf(seal, certificates, by),
      digest: Buffer.from(seal.digest).toString('hex'),
      size,
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
      [OPENPGP_KEY, encodePacket(PACKET.publicKey, signatories.openpgp.body)] as const,
      ...records.map(({ path, bytes }) => [`records/${path}`, bytes] as const),
      ...request.signatures.map((asked) => [questionName(asked), Buffer.from(asked.digest, 'hex')] as const),
    ]),
  );
}

/**
 * Reads a request and holds it against itself: every certificate, record and digest is the one that the index
 * names, and the digests are those of the manifest and of the records beside it.
 *
 * @param name of the file, for messages.
 * @throws Refusal `malformed`, `absent`, `wrong-purpose`, `untrusted-signer`, `weak-algorithm`.
 */
export function openRequest(name: string, bytes: Uint8Array): OpenedRequest {
  return openBundle(
    name,
    decodeOrRefuse(name, () => decodeBundle(bytes).files),
  );
}

export function openBundle(name: string, bundle: ReadonlyMap<string, Uint8Array>): OpenedRequest {
  const file = (path: string) => {
    const found = bundle.get(path);
    if (found) return found;
    throw new Refusal('absent', `${name} holds no ${path}, so it is no whole request.`, { path });
  };
  const index = file(INDEX);
  const request = decodeOrRefuse(name, () => decodeSigningRequest(index));
  const differs = (path: string) =>
    new Refusal('malformed', `${path} in ${name} is not what its index names.`, { path });

  const certificates = new Map<string, Certificate>();
  for (const { key, sha256: wanted } of request.certificates) {
    const certificate = decodeOrRefuse(name, () => oneCertificate(file(certificateName(key))));
    if (sha256(certificate.raw) !== wanted) throw differs(certificateName(key));
    certificates.set(key, certificate);
  }
  const openpgp = decodeOrRefuse(name, () => {
    const [packet, ...more] = decodePackets(file(OPENPGP_KEY), 2);
    if (packet?.tag !== PACKET.publicKey || more.length > 0) throw new Malformed('OpenPGP', 'not one key');
    const key = decodeOpenpgpKey(packet.body);
    if (key.type !== 'rsa') throw new Malformed('OpenPGP', 'no RSA key');
    return key;
  });
  if (openpgp.fingerprint !== request.openpgp) throw differs(OPENPGP_KEY);
  const records = request.records.map(({ path, size, sha256: wanted }) => {
    const bytes = file(`records/${path}`);
    if (bytes.length !== size || sha256(bytes) !== wanted) throw differs(`records/${path}`);
    return { kind: 'record', path, bytes } as const;
  });
  const manifestRecord = records.find(({ path }) => path === RECORD.manifest);
  if (!manifestRecord || sha256(manifestRecord.bytes) !== request.manifestSha256) {
    throw differs(`records/${RECORD.manifest}`);
  }
  const manifest = decodeOrRefuse(name, () => decodeManifest(manifestRecord.bytes));
  if (manifest.release !== request.release) throw differs(`records/${RECORD.manifest}`);

  const ids = [...certificates.keys()].flatMap((key) => /^ca-(.+)$/.exec(key)?.[1] ?? []);
  demandRecords(name, manifest, records, ids);
  const places = sealPlaces(manifest, records, ids);
  const hashed = documentSignatureFields(openpgp.fingerprint, Math.max(manifest.issued, openpgp.created));
  const asked = new Map<string, RequestedSignature>();
  const lacking = request.signatures.map((signature): LackingSeal => {
    const { path: of, suffix, size, key, digest: hexDigest } = signature;
    const digest = Buffer.from(hexDigest, 'hex');
    if (Buffer.compare(file(questionName(signature)), digest) !== 0) throw differs(questionName(signature));
    const record = records.find(({ path }) => path === of);
    const known =
      manifest.files.find(({ path }) => path === of) ?? request.records.find(({ path }) => path === of);
    if (!known || known.size !== size) throw differs(`the size of ${of}`);
    if (places.get(of + suffix)?.by !== key) {
      throw new Refusal(
        'wrong-purpose',
        `${name} asks the key ${key} for ${of}${suffix}, which is not its to sign.`,
        { path: of + suffix, key },
      );
    }
    // What is signed with SHA-256 can be held against the manifest; whoever signs sees what for. Behind a payload's
    // OpenPGP digest anything may be.
    const digests =
      key !== 'openpgp'
        ? known.sha256
        : record && createHash('sha512').update(record.bytes).update(signatureTrailer(hashed)).digest('hex');
    if (digests !== undefined && digests !== hexDigest) throw differs(`the digest of ${of}`);
    asked.set(of + suffix, signature);
    const seal: UnsignedSeal =
      key === 'openpgp'
        ? { form: 'openpgp', hash: 'sha512', digest, hashed }
        : { form: 'cms', hash: 'sha256', digest };
    return { kind: 'lacking', path: of + suffix, of, size, by: key as KeyName, seal };
  });

  const certificate = (key: string) => {
    const found = certificates.get(key);
    if (found) return found;
    throw new Refusal('absent', `${name} names no certificate ${key}.`, { key });
  };
  const loader = (suffix: string): LoaderSignatories => ({
    ca: certificate(`ca${suffix}`),
    boot: certificate(`boot${suffix}`),
  });
  const signatories = { ...loader(''), codesign: certificate('codesign'), openpgp };
  const others = ids.map((id) => ({ id, signatories: loader(`-${id}`) }));
  demandCertificates(name, request, signatories, others);
  demandSeals(name, places, request);
  demandKeys(name, request, signatories, others);
  demandLeaves(name, request, manifest, signatories, others);
  demandNamed(name, request, bundle);
  return {
    request,
    index,
    manifest,
    signatories,
    others,
    places,
    files: [...records, ...request.kept.map(({ path }) => ({ kind: 'kept', path }) as const), ...lacking],
    asked,
    bundle,
  };
}

/** Whoever looks into a bundle by hand must not be shown what nobody signs or writes. */
function demandNamed(
  name: string,
  { certificates, leaves, records, signatures }: SigningRequest,
  bundle: ReadonlyMap<string, Uint8Array>,
): void {
  const named = new Set([
    ...[INDEX, OPENPGP_KEY],
    ...[...certificates, ...leaves].map(({ key }) => certificateName(key)),
    ...records.map(({ path }) => `records/${path}`),
    ...signatures.flatMap((asked) => [questionName(asked), answerName(asked)]),
  ]);
  for (const path of bundle.keys()) {
    if (named.has(path)) continue;
    throw new Refusal('malformed', `${name} holds ${path}, which its index does not name.`, { path });
  }
}

function certificatesOf(
  { ca, codesign, boot }: Signatories,
  others: readonly OtherCa[],
): [string, Certificate][] {
  return [
    ['ca', ca],
    ['codesign', codesign],
    ['boot', boot],
    ...others.flatMap(({ id, signatories }): [string, Certificate][] => [
      [`ca-${id}`, signatories.ca],
      [`boot-${id}`, signatories.boot],
    ]),
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

export function oneCertificate(pem: Uint8Array): Certificate {
  const [block, ...more] = decodePem(Buffer.from(pem).toString('latin1'));
  if (block?.label !== 'CERTIFICATE' || more.length > 0) throw new Malformed('PEM', 'not one CERTIFICATE');
  return decodeCertificate(block.bytes);
}

export function decodeOrRefuse<T>(name: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${name} cannot be read: ${error.message}.`, { path: name });
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
