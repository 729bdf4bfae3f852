import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafePath } from './safe-path.ts';

/**
 * What must be signed so that a tree is sealed: the index of a request, which a person can read. Lines as in the
 * manifest, in this order. Of payload it holds digests, and the number of a signature names its files in the bundle;
 * records and scripts are there as text, and whoever signs them computes the digest of what was read.
 *
 *     bootseal-request 2
 *     release arch/2026.11.01
 *     manifest <sha256>
 *     certificate ca <sha256>
 *     certificate codesign <sha256>
 *     certificate manifest <sha256>
 *     certificate boot <sha256>
 *     openpgp openpgp <fingerprint>
 *     openpgp openpgp-script <fingerprint>
 *     openpgp openpgp-manifest <fingerprint>
 *     leaf leaf rsa 3072 2026-10-31T00:00:00Z 2027-05-10T00:00:00Z
 *     record <bytes> <sha256> release.manifest
 *     kept <sha256> arch/boot/x86_64/vmlinuz-linux.sig
 *     sign 0001 leaf rsa-sha256 <digest> <bytes> .ipxe.sig arch/boot/x86_64/vmlinuz-linux
 *     text manifest rsa-sha256 .cms.sig release.manifest
 *     text boot rsa-sha256 .sig boot.ipxe
 */
export interface SigningRequest {
  readonly release: string;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  readonly certificates: readonly { readonly key: string; readonly sha256: string }[];
  /** Fingerprints: 40 lower-case hex digits. */
  readonly openpgp: readonly { readonly key: string; readonly fingerprint: string }[];
  /** Certificates to be issued where the CA is; their common name is the release. */
  readonly leaves: readonly RequestedLeaf[];
  readonly records: readonly { readonly path: string; readonly size: number; readonly sha256: string }[];
  /** Seals that stand in the tree and hold. */
  readonly kept: readonly { readonly path: string; readonly sha256: string }[];
  /** Of payload. */
  readonly signatures: readonly RequestedSignature[];
  /** Of records and scripts. */
  readonly texts: readonly RequestedText[];
}

/** A record or script that shall be signed as it stands: its answer is the whole seal. */
export interface RequestedText {
  readonly key: string;
  readonly algorithm: SignatureAlgorithm;
  readonly suffix: string;
  readonly path: string;
}

export interface RequestedLeaf {
  /** `leaf`, or `leaf-` and the id of another CA. */
  readonly key: string;
  readonly kind: 'rsa' | 'p256';
  /** Modulus length; 256 for P-256. */
  readonly bits: number;
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface RequestedSignature {
  /** From 1. */
  readonly number: number;
  /** `codesign`, `openpgp`, `leaf`, or that with the id of another CA. */
  readonly key: string;
  readonly algorithm: SignatureAlgorithm;
  /** Lower-case hex. */
  readonly digest: string;
  /** Bytes of the file that the seal stands beside. */
  readonly size: number;
  /** What the seal's name adds to that file's. */
  readonly suffix: string;
  readonly path: string;
}

export type SignatureAlgorithm = (typeof ALGORITHMS)[number];
const ALGORITHMS = ['rsa-sha256', 'p256-sha256', 'rsa-sha512'] as const;

/** Bytes. */
export const MAX_REQUEST_INDEX = 32 * 1024 * 1024;
export const MAX_SIGNATURES = 50_000;

const FORMAT = 'signing request';
const MAGIC = 'bootseal-request 2';
const SHA256 = /^[0-9a-f]{64}$/;
const PAYLOAD_KEY = /^(codesign|openpgp|leaf(-[0-9a-f]{16})?)$/;
const TEXT_KEY = /^(manifest|openpgp-script|openpgp-manifest|boot(-[0-9a-f]{16})?)$/;
/** `ca.1` is the certificate above `ca`, `ca.2` the one above that. */
const CERTIFICATE = /^(codesign|manifest|(ca(\.[1-7])?|boot)(-[0-9a-f]{16})?)$/;
const OPENPGP = /^openpgp(-script|-manifest)?$/;
const LEAF = /^leaf(-[0-9a-f]{16})?$/;
const PAYLOAD_SUFFIX = /^(\.[0-9a-f]{16})?(\.ipxe|\.cms)?\.sig$/;
const TEXT_SUFFIX = /^(\.cms)?\.sig$|^\.gpg$/;

/** `0001`: how a signature is called inside a bundle. */
export function signatureNumber(number: number): string {
  return String(number).padStart(4, '0');
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeSigningRequest(request: SigningRequest): Uint8Array {
  const lines = [
    MAGIC,
    `release ${request.release}`,
    `manifest ${request.manifestSha256}`,
    ...request.certificates.map(({ key, sha256 }) => `certificate ${key} ${sha256}`),
    ...request.openpgp.map(({ key, fingerprint }) => `openpgp ${key} ${fingerprint}`),
    ...request.leaves.map(
      ({ key, kind, bits, notBefore, notAfter }) =>
        `leaf ${key} ${kind} ${bits} ${isoSeconds(notBefore)} ${isoSeconds(notAfter)}`,
    ),
    ...request.records.map(({ size, sha256, path }) => `record ${size} ${sha256} ${path}`),
    ...request.kept.map(({ sha256, path }) => `kept ${sha256} ${path}`),
    ...request.signatures.map(
      ({ number, key, algorithm, digest, size, suffix, path }) =>
        `sign ${signatureNumber(number)} ${key} ${algorithm} ${digest} ${size} ${suffix} ${path}`,
    ),
    ...request.texts.map(({ key, algorithm, suffix, path }) => `text ${key} ${algorithm} ${suffix} ${path}`),
  ];
  // Latin-1 keeps the low byte of what it cannot hold: another path than the one given.
  if (lines.some((line) => !/^[ -~]*$/.test(line)))
    throw new Malformed(FORMAT, 'a value that breaks its line');
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeSigningRequest(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeSigningRequest(bytes: Uint8Array): SigningRequest {
  if (bytes.length > MAX_REQUEST_INDEX) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(FORMAT, 'not lines of ASCII');
  const lines = new LineReader(FORMAT, text.slice(0, -1).split('\n'));
  const magic = lines.next();
  if (magic === 'bootseal-request 1')
    throw lines.fail(
      'it was made by an earlier Bootseal, which signed records blindly; make the request again',
    );
  if (magic !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('release is not NAME/VERSION');
  const manifestSha256 = hex(lines, lines.one('manifest'));
  const certificates = all(lines, 'certificate', 2, ([key = '', sha256 = '']) => {
    if (!CERTIFICATE.test(key)) throw lines.fail(`no certificate is called ${key}`);
    return { key, sha256: hex(lines, sha256) };
  });
  const openpgp = all(lines, 'openpgp', 2, ([key = '', fingerprint = '']) => {
    if (!OPENPGP.test(key)) throw lines.fail(`no OpenPGP key is called ${key}`);
    if (!/^[0-9a-f]{40}$/.test(fingerprint)) throw lines.fail('openpgp takes a fingerprint');
    return { key, fingerprint };
  });
  const leaves = all(lines, 'leaf', 5, ([key = '', kind = '', bits = '', notBefore = '', notAfter = '']) => {
    if (!LEAF.test(key)) throw lines.fail(`no leaf is called ${key}`);
    if (kind !== 'rsa' && kind !== 'p256') throw lines.fail('a leaf is rsa or p256');
    if (kind === 'p256' && bits !== '256') throw lines.fail('a p256 leaf has 256 bits');
    return {
      key,
      kind: kind as 'rsa' | 'p256',
      bits: lines.count(bits, 'bits'),
      notBefore: lines.moment(notBefore, 'leaf'),
      notAfter: lines.moment(notAfter, 'leaf'),
    };
  });
  const records = all(lines, 'record', 3, ([size = '', sha256 = '', path = '']) => ({
    size: lines.count(size, 'size'),
    sha256: hex(lines, sha256),
    path: safe(lines, path),
  }));
  const kept = all(lines, 'kept', 2, ([sha256 = '', path = '']) => ({
    sha256: hex(lines, sha256),
    path: safe(lines, path),
  }));
  const signatures = all(lines, 'sign', 7, (fields, count) => signature(lines, fields, count));
  const texts = all(lines, 'text', 4, ([key = '', algorithm = '', suffix = '', path = '']) => {
    if (!TEXT_KEY.test(key)) throw lines.fail(`no key for records or scripts is called ${key}`);
    if (!TEXT_SUFFIX.test(suffix)) throw lines.fail(`no seal ends in ${suffix}`);
    return { key, algorithm: algorithmOf(lines, key, algorithm), suffix, path: safe(lines, path) };
  });
  if (signatures.length + texts.length > MAX_SIGNATURES)
    throw lines.fail(`more than ${MAX_SIGNATURES} signatures`);
  lines.end();
  const named = [
    ...certificates.map(({ key }) => `certificate ${key}`),
    ...openpgp.map(({ key }) => `openpgp ${key}`),
    ...leaves.map(({ key }) => `leaf ${key}`),
    ...records.map(({ path }) => path),
    ...kept.map(({ path }) => path),
    ...[...signatures, ...texts].map(({ path, suffix }) => path + suffix),
  ];
  const seen = new Set<string>();
  for (const name of named) {
    if (seen.has(name)) throw new Malformed(FORMAT, `${name} is there twice`);
    seen.add(name);
  }
  return { release, manifestSha256, certificates, openpgp, leaves, records, kept, signatures, texts };
}

function signature(lines: LineReader, fields: readonly string[], count: number): RequestedSignature {
  const [number = '', key = '', algorithm = '', digest = '', size = '', suffix = '', path = ''] = fields;
  // Counted through, so that a line cannot be lost without being missed.
  if (number !== signatureNumber(count + 1)) throw lines.fail('signatures are not counted from 0001');
  if (!PAYLOAD_KEY.test(key)) throw lines.fail(`no key for payload is called ${key}`);
  const known = algorithmOf(lines, key, algorithm);
  const octets = known === 'rsa-sha512' ? 64 : 32;
  if (!/^[0-9a-f]+$/.test(digest) || digest.length !== octets * 2)
    throw lines.fail('the digest has another length');
  if (!PAYLOAD_SUFFIX.test(suffix)) throw lines.fail(`no seal ends in ${suffix}`);
  return {
    number: count + 1,
    key,
    algorithm: known,
    digest,
    size: lines.count(size, 'size'),
    suffix,
    path: safe(lines, path),
  };
}

function algorithmOf(lines: LineReader, key: string, text: string): SignatureAlgorithm {
  const known = ALGORITHMS.find((name) => name === text);
  if (!known || (known === 'rsa-sha512') !== OPENPGP.test(key)) throw lines.fail('no such algorithm');
  return known;
}

function all<T>(
  lines: LineReader,
  key: string,
  count: number,
  read: (fields: readonly string[], before: number) => T,
): T[] {
  const found: T[] = [];
  for (let fields = lines.optional(key, count); fields; fields = lines.optional(key, count)) {
    if (found.length === MAX_SIGNATURES) throw lines.fail(`more than ${MAX_SIGNATURES} lines of ${key}`);
    found.push(read(fields, found.length));
  }
  return found;
}

function hex(lines: LineReader, text: string): string {
  if (!SHA256.test(text)) throw lines.fail('no SHA-256');
  return text;
}

function safe(lines: LineReader, path: string): string {
  if (!isSafePath(path)) throw lines.fail('an unsafe path');
  return path;
}
