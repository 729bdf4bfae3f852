import { Malformed } from '../../errors/malformed.ts';
import { LineReader } from './lines.ts';
import { signatureNumber } from './signing-request.ts';

/**
 * What must be signed so that an image is: the index of a request about one, which a person can read. Two kinds, two
 * rounds: PCR values first, since their signatures are part of what the image's own is over.
 *
 *     bootseal-image-request 1
 *     title arch/2026.11.01
 *     cmdline quiet bootseal.manifest=…
 *     image <bytes> <Authenticode digest>
 *     sign 0001 db <SHA-256 of the certificate> <digest>
 *
 *     sign 0001 pcr <SHA-256 of the public key> <digest> <value of PCR 11> enter-initrd
 */
export interface ImageRequest {
  /** What the image says it is, and starts its kernel with. Nobody verified that. */
  readonly title: string;
  readonly cmdline: string;
  /** Bytes. */
  readonly size: number;
  /** Authenticode digest, SHA-256, lower-case hex. */
  readonly imageDigest: string;
  /** One of `db`, or one of `pcr` for each phase. */
  readonly questions: readonly ImageQuestion[];
}

export interface ImageQuestion {
  /** From 1. */
  readonly number: number;
  readonly key: 'db' | 'pcr';
  /** Lower-case hex. */
  readonly keySha256: string;
  readonly digest: string;
  /** Of `pcr`: the value that PCR 11 will have, lower-case hex, and when. */
  readonly pcr?: { readonly value: string; readonly phase: string };
}

const FORMAT = 'image request';
const MAGIC = 'bootseal-image-request 1';
const SHA256 = /^[0-9a-f]{64}$/;
const PHASE = /^[a-z-]{1,32}(:[a-z-]{1,32}){0,7}$/;
const MAX_INDEX = 64 * 1024;
const MAX_QUESTIONS = 16;

export function isImageRequest(index: Uint8Array): boolean {
  return Buffer.from(index.subarray(0, MAGIC.length + 1)).toString('latin1') === `${MAGIC}\n`;
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeImageRequest(request: ImageRequest): Uint8Array {
  const lines = [
    MAGIC,
    `title ${request.title}`,
    `cmdline ${request.cmdline}`,
    `image ${request.size} ${request.imageDigest}`,
    ...request.questions.map(({ number, key, keySha256, digest, pcr }) =>
      ['sign', signatureNumber(number), key, keySha256, digest, ...(pcr ? [pcr.value, pcr.phase] : [])].join(
        ' ',
      ),
    ),
  ];
  if (lines.some((line) => !/^[ -~]*$/.test(line)))
    throw new Malformed(FORMAT, 'a value that breaks its line');
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeImageRequest(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeImageRequest(bytes: Uint8Array): ImageRequest {
  if (bytes.length > MAX_INDEX) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(FORMAT, 'not lines of ASCII');
  const lines = new LineReader(FORMAT, text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const title = lines.optionalText('title');
  const cmdline = lines.optionalText('cmdline');
  if (title === undefined || cmdline === undefined) throw lines.fail('title and cmdline belong here');
  const [size = '', imageDigest = '', ...more] = lines.words('image');
  if (!SHA256.test(imageDigest) || more.length > 0) throw lines.fail('image takes bytes and a digest');
  const questions: ImageQuestion[] = [];
  while (lines.has('sign')) questions.push(question(lines, questions));
  lines.end();
  if (questions.length === 0) throw new Malformed(FORMAT, 'asks for nothing');
  return { title, cmdline, size: lines.count(size, 'octets'), imageDigest, questions };
}

function question(lines: LineReader, before: readonly ImageQuestion[]): ImageQuestion {
  const [number = '', key = '', keySha256 = '', digest = '', value, phase, ...more] = lines.words('sign');
  if (number !== signatureNumber(before.length + 1)) throw lines.fail('signatures are not counted from 0001');
  if (before.length === MAX_QUESTIONS) throw lines.fail(`more than ${MAX_QUESTIONS} signatures`);
  if (!SHA256.test(keySha256) || !SHA256.test(digest)) throw lines.fail('no SHA-256');
  const common = { number: before.length + 1, keySha256, digest };
  // The image's own signature is over those of the PCR values: they cannot be asked for at once.
  if (key === 'db' && before.length === 0 && value === undefined) return { ...common, key };
  if (
    key !== 'pcr' ||
    before.some(
      (other) => other.key !== 'pcr' || other.keySha256 !== keySha256 || other.pcr?.phase === phase,
    ) ||
    value === undefined ||
    phase === undefined ||
    more.length > 0
  ) {
    throw lines.fail('one signature by db, or by one pcr for each phase');
  }
  if (!SHA256.test(value) || !PHASE.test(phase)) throw lines.fail('no value of a PCR, or no phase');
  return { ...common, key, pcr: { value, phase } };
}
