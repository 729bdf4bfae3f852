import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId } from './safe-path.ts';

/**
 * What we say of a release that somebody else sealed: these are its seals, from there, and we stand by it. The
 * seals themselves stay as they came. Lines as in the manifest:
 *
 *     bootseal-countersignature 1
 *     time 2026-11-01T00:00:00Z
 *     release arch/2026.11.01
 *     manifest <sha256>
 *     origin https://mirror.example/arch/
 *     original-signer <fingerprint>
 */
export interface Countersignature {
  /** Milliseconds since 1970, whole seconds. */
  readonly time: number;
  readonly release: string;
  /** SHA-256 of the release's manifest, lower-case hex. */
  readonly manifest: string;
  /** Where the release came from. */
  readonly origin: string;
  /** Who sealed it: SHA-256 of certificates, fingerprints of OpenPGP keys, lower-case hex; none twice. */
  readonly originalSigners: readonly string[];
}

/** Bytes. */
export const MAX_COUNTERSIGNATURE = 4096;
export const MAX_ORIGINAL_SIGNERS = 8;

const MAGIC = 'bootseal-countersignature 1';
const ORIGIN = /^(?:https?|rsync|s3|file):\/\/[!-~]{1,290}$/;

/**
 * An address that a record of provenance can hold: http, https, rsync, s3, or a file that was carried here; printable ASCII
 * without blanks.
 */
export function isOrigin(text: string): boolean {
  return ORIGIN.test(text);
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeCountersignature(value: Countersignature): Uint8Array {
  const lines = [
    MAGIC,
    `time ${isoSeconds(value.time)}`,
    `release ${value.release}`,
    `manifest ${value.manifest}`,
    `origin ${value.origin}`,
    ...value.originalSigners.map((signer) => `original-signer ${signer}`),
  ];
  // Joined, a value that breaks its line would be read as two.
  if (lines.some((line) => line.includes('\n')))
    throw new Malformed('countersignature', 'a value that breaks its line');
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeCountersignature(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeCountersignature(bytes: Uint8Array): Countersignature {
  if (bytes.length > MAX_COUNTERSIGNATURE) throw new Malformed('countersignature', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed('countersignature', 'not lines of ASCII');
  const lines = new LineReader('countersignature', text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const time = lines.time('time');
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('release is not NAME/VERSION');
  const manifest = lines.one('manifest');
  if (!/^[0-9a-f]{64}$/.test(manifest)) throw lines.fail('manifest is no SHA-256');
  const origin = lines.one('origin');
  if (!isOrigin(origin)) throw lines.fail('origin is no address');
  const originalSigners: string[] = [];
  for (let fields = lines.optional('original-signer', 1); fields; ) {
    const [signer = ''] = fields;
    if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(signer)) throw lines.fail('original-signer is no fingerprint');
    if (originalSigners.includes(signer)) throw lines.fail('original-signer twice');
    originalSigners.push(signer);
    fields = lines.optional('original-signer', 1);
  }
  if (originalSigners.length === 0 || originalSigners.length > MAX_ORIGINAL_SIGNERS)
    throw lines.fail(`1 to ${MAX_ORIGINAL_SIGNERS} original signers belong here`);
  lines.end();
  return { time, release, manifest, origin, originalSigners };
}
