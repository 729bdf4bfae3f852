import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';

/**
 * Which keys of a site follow which. The old keys of records sign it, so whoever trusted them may trust what they
 * name. Lines as in the manifest, kinds in this order, each once at the most:
 *
 *     bootseal-successors 1
 *     issued 2026-11-01T00:00:00Z
 *     root <sha256> <sha256>
 *     ca <sha256> <sha256>
 *     codesign <sha256> <sha256>
 *     boot <sha256> <sha256>
 *     manifest <sha256> <sha256>
 *     openpgp <fingerprint> <fingerprint>
 *     openpgp-script <fingerprint> <fingerprint>
 *     openpgp-manifest <fingerprint> <fingerprint>
 *     snapshot <sha256> <sha256>
 *
 * The old one comes first. SHA-256 is that of the whole certificate.
 */
export interface Successors {
  /** Milliseconds since 1970, whole seconds. */
  readonly issued: number;
  readonly steps: readonly Succession[];
}

export interface Succession {
  readonly kind: SuccessionKind;
  /** Lower-case hex: SHA-256 of a certificate, the v4 fingerprint of an OpenPGP key. */
  readonly from: string;
  readonly to: string;
}

export const SUCCESSION_KINDS = [
  'root',
  'ca',
  'codesign',
  'boot',
  'manifest',
  'openpgp',
  'openpgp-script',
  'openpgp-manifest',
  'snapshot',
] as const;
export type SuccessionKind = (typeof SUCCESSION_KINDS)[number];

/** Whether a kind of key is named by an OpenPGP fingerprint. */
export function isOpenpgpKind(kind: string): kind is `openpgp${string}` & SuccessionKind {
  return kind.startsWith('openpgp');
}

/** Bytes. */
export const MAX_SUCCESSORS = 4096;

const MAGIC = 'bootseal-successors 1';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeSuccessors({ issued, steps }: Successors): Uint8Array {
  const lines = [
    MAGIC,
    `issued ${isoSeconds(issued)}`,
    ...steps.map(({ kind, from, to }) => `${kind} ${from} ${to}`),
  ];
  // Joined, a value that breaks its line would be read as two.
  if (lines.some((line) => line.includes('\n')))
    throw new Malformed('successors', 'a value that breaks its line');
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeSuccessors(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeSuccessors(bytes: Uint8Array): Successors {
  if (bytes.length > MAX_SUCCESSORS) throw new Malformed('successors', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed('successors', 'not lines of ASCII');
  const lines = new LineReader('successors', text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const issued = lines.time('issued');
  const steps: Succession[] = [];
  for (const kind of SUCCESSION_KINDS) {
    const fields = lines.optional(kind, 2);
    if (!fields) continue;
    const [from = '', to = ''] = fields;
    const fingerprint = isOpenpgpKind(kind) ? /^[0-9a-f]{40}$/ : /^[0-9a-f]{64}$/;
    if (!fingerprint.test(from) || !fingerprint.test(to)) throw lines.fail(`${kind} takes two fingerprints`);
    if (from === to) throw lines.fail(`${kind} follows itself`);
    steps.push({ kind, from, to });
  }
  lines.end();
  if (steps.length === 0) throw new Malformed('successors', 'names none');
  return { issued, steps };
}
