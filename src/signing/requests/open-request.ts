import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { decodePem } from '../../formats/asn1/armor.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { decodeOpenpgpKey, type OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { decodePackets, PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import { documentSignatureFields, signatureTrailer } from '../../formats/openpgp/openpgp-signature.ts';
import { decodeManifest, linuxOf, type Manifest } from '../../formats/records/manifest.ts';
import { decodeBundle } from '../../formats/records/request-bundle.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import {
  decodeSigningRequest,
  type RequestedText,
  type SigningRequest,
} from '../../formats/records/signing-request.ts';
import { demandOwnWords } from '../../release/own-words.ts';
import { isOpenpgpKey, type KeyName, OPENPGP_KEYS, type OpenpgpKeyName } from '../seal-keys.ts';
import type { UnsignedSeal } from '../seal-plan.ts';
import type { LoaderSignatories, Signatories } from '../signatories.ts';
import type { OtherCa } from '../site-plans.ts';
import type { DraftFile, LackingSeal } from '../tree-draft.ts';
import {
  answerName,
  certificateName,
  INDEX,
  openpgpName,
  questionName,
  sealName,
  textName,
} from './request-files.ts';
import {
  demandCertificates,
  demandKeys,
  demandLeaves,
  demandOnePurpose,
  demandRecords,
  demandScripts,
  demandSeals,
  type SealPlace,
  sealPlaces,
} from './request-rules.ts';

/** A request that was read, and held against itself. */
export interface OpenedRequest {
  readonly request: SigningRequest;
  /** The index, byte for byte: two requests are one where it is the same. */
  readonly index: Uint8Array;
  readonly manifest: Manifest;
  readonly signatories: Signatories;
  readonly others: readonly OtherCa[];
  readonly files: readonly DraftFile[];
  /** Seals that lack a signature: those of payload first. */
  readonly lacking: readonly AskedSeal[];
  /** Every seal of the release, asked for or standing, by its path. */
  readonly places: ReadonlyMap<string, SealPlace>;
  readonly bundle: ReadonlyMap<string, Uint8Array>;
}

/** A seal that a request asks for. */
export interface AskedSeal extends LackingSeal {
  /** The file of its answer in a bundle. */
  readonly answer: string;
  /** What is signed, of a record or script: its answer is the whole seal. Undefined of payload. */
  readonly text: Uint8Array | undefined;
}

/**
 * Reads a request and holds it against itself: every certificate, record and script is the one that the index names,
 * digests are those of the manifest, scripts boot this release and hold what the linter demands of them.
 *
 * @param name of the file, for messages.
 * @throws Refusal `malformed`, `absent`, `wrong-purpose`, `untrusted-signer`, `weak-algorithm`, `unsafe-script`,
 *   `wrong-command-line`, `mixed-releases`.
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
  const differs = (path: string) =>
    new Refusal(
      'malformed',
      `${path} in ${name} is not what its index names: it was changed after the request was made.`,
      { path },
    );
  // 1. The index.
  const index = file(INDEX);
  const request = decodeOrRefuse(name, () => decodeSigningRequest(index));
  // 2. Whose seals they shall be.
  const certificates = readCertificates(name, request, file, differs);
  const ids = [...certificates.keys()].flatMap((key) => /^ca-([0-9a-f]{16})$/.exec(key)?.[1] ?? []);
  const signatories = signatoriesOf(name, request, certificates, { file, differs });
  const others = ids.map((id) => ({ id, signatories: loaderOf(name, certificates, `-${id}`) }));
  demandCertificates(name, request, signatories, others);
  demandOnePurpose(name, signatories, others);
  // 3. Records and scripts, as text.
  const records = readTexts(request, bundle, { file, differs });
  const manifestBytes = records.find(({ path }) => path === RECORD.manifest)?.bytes;
  if (!manifestBytes || sha256(manifestBytes) !== request.manifestSha256)
    throw differs(textName(RECORD.manifest));
  const manifest = decodeOrRefuse(name, () => decodeManifest(manifestBytes));
  if (manifest.release !== request.release) throw differs(textName(RECORD.manifest));
  demandOwnWords(manifest.release, manifest.layout, linuxOf(manifest).cmdline);
  demandRecords(name, manifest, request.manifestSha256, records, ids);
  demandScripts(name, manifest, request.manifestSha256, records);
  // 4. What is asked: each key for what is its to sign, and over nothing but what stands here.
  const places = sealPlaces(manifest, records, ids);
  const purposes = { name, places };
  const payload = request.signatures.map((asked): AskedSeal => {
    const { path: of, suffix, size, key, digest: hexDigest } = asked;
    demandPlace(purposes, asked);
    const digest = Buffer.from(hexDigest, 'hex');
    if (Buffer.compare(file(questionName(asked)), digest) !== 0) throw differs(questionName(asked));
    const known = manifest.files.find(({ path }) => path === of);
    if (!known || known.size !== size) throw differs(`the size of ${of}`);
    // What is signed with SHA-256 can be held against the manifest; whoever signs sees what for. Behind a payload's
    // OpenPGP digest anything may be, and by that key nothing but payload is taken from anybody.
    if (!isOpenpgpKey(key) && known.sha256 !== hexDigest) throw differs(`the digest of ${of}`);
    const seal: UnsignedSeal = isOpenpgpKey(key)
      ? { form: 'openpgp', hash: 'sha512', digest, hashed: hashedFields(key, signatories, manifest) }
      : { form: 'cms', hash: 'sha256', digest };
    const answer = answerName(asked);
    return {
      kind: 'lacking',
      path: of + suffix,
      of,
      size,
      by: key as KeyName,
      seal,
      answer,
      text: undefined,
    };
  });
  const texts = request.texts.map((asked): AskedSeal => {
    const { path: of, suffix, key } = asked;
    demandPlace(purposes, asked);
    const text = records.find(({ path }) => path === of)?.bytes;
    if (!text) throw differs(textName(of));
    const by = key as KeyName;
    const seal = textSeal(by, text, signatories, manifest);
    const answer = sealName(asked);
    return { kind: 'lacking', path: of + suffix, of, size: text.length, by, seal, answer, text };
  });
  demandSeals(name, places, request);
  demandKeys(name, request, signatories, others);
  demandLeaves(name, request, manifest, signatories, others);
  demandNamed(name, request, bundle);
  const lacking = [...payload, ...texts];
  const kept = request.kept.map(({ path }) => ({ kind: 'kept', path }) as const);
  const files = [...records, ...kept, ...lacking];
  return { request, index, manifest, signatories, others, places, files, lacking, bundle };
}

interface BundleReader {
  readonly file: (path: string) => Uint8Array;
  readonly differs: (path: string) => Refusal;
}

function readCertificates(
  name: string,
  request: SigningRequest,
  file: BundleReader['file'],
  differs: BundleReader['differs'],
): ReadonlyMap<string, Certificate> {
  const certificates = new Map<string, Certificate>();
  for (const { key, sha256: wanted } of request.certificates) {
    const certificate = decodeOrRefuse(name, () => oneCertificate(file(certificateName(key))));
    if (sha256(certificate.raw) !== wanted) throw differs(certificateName(key));
    certificates.set(key, certificate);
  }
  return certificates;
}

function signatoriesOf(
  name: string,
  request: SigningRequest,
  certificates: ReadonlyMap<string, Certificate>,
  { file, differs }: BundleReader,
): Signatories {
  const openpgp = (key: OpenpgpKeyName) => {
    const wanted = request.openpgp.find((line) => line.key === key)?.fingerprint;
    const found = decodeOrRefuse(name, () => oneOpenpgpKey(file(openpgpName(key))));
    if (found.fingerprint !== wanted) throw differs(openpgpName(key));
    return found;
  };
  return {
    ...loaderOf(name, certificates, ''),
    codesign: certificateOf(name, certificates, 'codesign'),
    manifest: certificateOf(name, certificates, 'manifest'),
    openpgp: {
      payload: openpgp('openpgp'),
      script: openpgp('openpgp-script'),
      manifest: openpgp('openpgp-manifest'),
    },
  };
}

function loaderOf(
  name: string,
  certificates: ReadonlyMap<string, Certificate>,
  suffix: string,
): LoaderSignatories {
  const above: Certificate[] = [];
  for (let at = 1; certificates.has(`ca.${at}${suffix}`); at++)
    above.push(certificateOf(name, certificates, `ca.${at}${suffix}`));
  const of = (key: string) => certificateOf(name, certificates, `${key}${suffix}`);
  return { ca: of('ca'), above, boot: of('boot') };
}

function certificateOf(
  name: string,
  certificates: ReadonlyMap<string, Certificate>,
  key: string,
): Certificate {
  const found = certificates.get(key);
  if (found) return found;
  throw new Refusal('absent', `${name} names no certificate ${key}.`, { key });
}

/** One text may be there once for several records. */
function readTexts(
  { records }: SigningRequest,
  bundle: ReadonlyMap<string, Uint8Array>,
  { file, differs }: BundleReader,
) {
  const byDigest = new Map<string, Uint8Array>();
  return records.map(({ path, size, sha256: wanted }) => {
    const bytes = bundle.get(textName(path)) ?? byDigest.get(wanted) ?? file(textName(path));
    if (bytes.length !== size || sha256(bytes) !== wanted) throw differs(textName(path));
    byDigest.set(wanted, bytes);
    return { kind: 'record', path, bytes } as const;
  });
}

/** A key signs what is its to sign, whatever a request says. */
function demandPlace(
  { name, places }: { readonly name: string; readonly places: ReadonlyMap<string, SealPlace> },
  { key, path, suffix }: Pick<RequestedText, 'key' | 'path' | 'suffix'>,
): void {
  const seal = path + suffix;
  const place = places.get(seal);
  if (place?.by === key && place.of === path) return;
  throw new Refusal('wrong-purpose', `${name} asks the key ${key} for ${seal}, which is not its to sign.`, {
    path: seal,
    key,
  });
}

function hashedFields(key: OpenpgpKeyName, { openpgp }: Signatories, { issued }: Manifest): Uint8Array {
  const { fingerprint, created } = openpgp[OPENPGP_KEYS[key]];
  return documentSignatureFields(fingerprint, Math.max(issued, created));
}

/** The digest is computed here, of the text that was parsed: nobody else says what is signed. */
function textSeal(by: KeyName, text: Uint8Array, signatories: Signatories, manifest: Manifest): UnsignedSeal {
  if (!isOpenpgpKey(by))
    return { form: 'cms', hash: 'sha256', digest: createHash('sha256').update(text).digest() };
  const hashed = hashedFields(by, signatories, manifest);
  const digest = createHash('sha512').update(text).update(signatureTrailer(hashed)).digest();
  return { form: 'openpgp', hash: 'sha512', digest, hashed };
}

/** Whoever looks into a bundle by hand must not be shown what nobody signs or writes. */
function demandNamed(
  name: string,
  { certificates, openpgp, leaves, records, signatures, texts }: SigningRequest,
  bundle: ReadonlyMap<string, Uint8Array>,
): void {
  const named = new Set([
    INDEX,
    ...openpgp.map(({ key }) => openpgpName(key as OpenpgpKeyName)),
    ...[...certificates, ...leaves].map(({ key }) => certificateName(key)),
    ...records.map(({ path }) => textName(path)),
    ...signatures.flatMap((asked) => [questionName(asked), answerName(asked)]),
    ...texts.map(sealName),
  ]);
  for (const path of bundle.keys()) {
    if (named.has(path)) continue;
    throw new Refusal('malformed', `${name} holds ${path}, which its index does not name.`, { path });
  }
}

function oneOpenpgpKey(bytes: Uint8Array): OpenpgpKey {
  const [packet, ...more] = decodePackets(bytes, 2);
  if (packet?.tag !== PACKET.publicKey || more.length > 0) throw new Malformed('OpenPGP', 'not one key');
  const key = decodeOpenpgpKey(packet.body);
  if (key.type !== 'rsa') throw new Malformed('OpenPGP', 'no RSA key');
  return key;
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
