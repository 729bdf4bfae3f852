import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafePath, isSafeSegment } from './safe-path.ts';

/**
 * One entry of the transparency log. Lines as in the manifest, in this order; those that say nothing about an
 * act are left out:
 *
 *     bootseal-log-entry 1
 *     index 41
 *     time 2026-11-01T00:00:00Z
 *     clock 2026-10-31T22:00:00Z
 *     act publish
 *     channel stable
 *     release arch/2026.11.01
 *     manifest <sha256>
 *     serial 2026110100
 *     counter 7
 *     rollback-from arch/2026.11.02
 *     origin https://mirror.example/arch/
 *     seals <sha256>
 *     signer <fingerprint>
 *     file <sha256> arch/x86_64/airootfs.sfs
 *     refusal bad-signature
 *     message vmlinuz-linux.ipxe.sig does not match: the file or its seal was changed.
 */
export interface LogEntry {
  /** Its place in the log, from 0: an entry that was moved says so itself. */
  readonly index: number;
  /** Milliseconds since 1970, whole seconds; never before that of the entry before it. */
  readonly time: number;
  /** What the machine's clock said, where that was before `time`: it had been set back. */
  readonly clock?: number | undefined;
  readonly act: ActKind;
  readonly channel?: string | undefined;
  readonly release?: string | undefined;
  /** SHA-256 of the release's manifest, lower-case hex. */
  readonly manifest?: string | undefined;
  readonly serial?: number | undefined;
  /** Of the channel's snapshot. */
  readonly counter?: number | undefined;
  readonly rollbackFrom?: string | undefined;
  /** Where it came from: printable ASCII, at most 300 bytes. */
  readonly origin?: string | undefined;
  /** SHA-256 of the list (`seal-list.ts`) of every script, record and seal of the release, lower-case hex. */
  readonly seals?: string | undefined;
  /** SHA-256 of certificates, fingerprints of OpenPGP keys: lower-case hex, at most 8, none twice. */
  readonly signers: readonly string[];
  /** The one file that the act is about. */
  readonly file?: LoggedFile | undefined;
  readonly refusal?: LoggedRefusal | undefined;
}

export interface LoggedFile {
  /** Lower-case hex. */
  readonly sha256: string;
  readonly path: string;
}

export interface LoggedRefusal {
  readonly code: string;
  /** Printable ASCII, at most 1000 bytes. */
  readonly message: string;
}

export const ACT_KINDS = [
  'seal',
  'publish',
  'refuse',
  'renew',
  'rollback',
  'resign',
  'quarantine',
  'restore',
  'policy',
  'withdraw',
  'restore-state',
  'pull',
  'remove',
  'promote',
  'lost',
  'ask',
  'apply',
  'arm',
  'disarm',
  'consume',
  'token',
  'assign',
] as const;
export type ActKind = (typeof ACT_KINDS)[number];

/** Bytes. What the lines may hold, added up, stays below. */
export const MAX_LOG_ENTRY = 4096;
export const MAX_ORIGIN = 300;
export const MAX_MESSAGE = 1000;
export const MAX_SIGNERS = 8;

export const LOG_ENTRY_MAGIC = 'bootseal-log-entry 1';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeLogEntry(entry: LogEntry): Uint8Array {
  const line = (key: string, value: string | number | undefined) =>
    value === undefined ? [] : [`${key} ${value}`];
  const time = (value: number | undefined) => (value === undefined ? undefined : isoSeconds(value));
  const { file, refusal } = entry;
  const lines = [
    LOG_ENTRY_MAGIC,
    ...line('index', entry.index),
    ...line('time', time(entry.time)),
    ...line('clock', time(entry.clock)),
    ...line('act', entry.act),
    ...line('channel', entry.channel),
    ...line('release', entry.release),
    ...line('manifest', entry.manifest),
    ...line('serial', entry.serial),
    ...line('counter', entry.counter),
    ...line('rollback-from', entry.rollbackFrom),
    ...line('origin', entry.origin),
    ...line('seals', entry.seals),
    ...entry.signers.flatMap((signer) => line('signer', signer)),
    ...(file ? line('file', `${file.sha256} ${file.path}`) : []),
    ...(refusal ? [...line('refusal', refusal.code), ...line('message', refusal.message)] : []),
  ];
  // Joined, a value that breaks its line would be read as two.
  if (lines.some((text) => text.includes('\n')))
    throw new Malformed('log entry', 'a value that breaks its line');
  const bytes = Buffer.from(`${lines.join('\n')}\n`);
  decodeLogEntry(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeLogEntry(bytes: Uint8Array): LogEntry {
  if (bytes.length > MAX_LOG_ENTRY) throw new Malformed('log entry', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed('log entry', 'not lines of ASCII');
  const lines = new LineReader('log entry', text.slice(0, -1).split('\n'));
  if (lines.next() !== LOG_ENTRY_MAGIC) throw lines.fail(`the first line is not "${LOG_ENTRY_MAGIC}"`);
  const one = (key: string, fits: (value: string) => boolean) => {
    const [value] = lines.optional(key, 1) ?? [];
    if (value !== undefined && !fits(value)) throw lines.fail(key);
    return value;
  };
  const number = (key: string) => {
    const value = one(key, () => true);
    return value === undefined ? undefined : lines.count(value, key);
  };
  const index = lines.count(lines.one('index'), 'index');
  const time = lines.time('time');
  const clock = optionalTime(lines, 'clock');
  if (clock !== undefined && clock >= time) throw lines.fail('a clock that was not set back');
  const named = lines.one('act');
  const act = ACT_KINDS.find((kind) => kind === named);
  if (act === undefined) throw lines.fail('an unknown act');
  const channel = one('channel', isSafeSegment);
  const release = one('release', isReleaseId);
  const manifest = one('manifest', isSha256);
  const serial = number('serial');
  const counter = number('counter');
  const rollbackFrom = one('rollback-from', isReleaseId);
  const origin = shortText(lines, 'origin', MAX_ORIGIN);
  const seals = one('seals', isSha256);
  const signers: string[] = [];
  for (let signer = one('signer', isFingerprint); signer !== undefined; signer = one('signer', isFingerprint))
    signers.push(signer);
  if (signers.length > MAX_SIGNERS || new Set(signers).size < signers.length) throw lines.fail('signers');
  const [sha256, path] = lines.optional('file', 2) ?? [];
  if (sha256 !== undefined && !(isSha256(sha256) && isSafePath(path ?? ''))) throw lines.fail('file');
  const code = one('refusal', (value) => /^[a-z][a-z-]{0,31}$/.test(value));
  const message = shortText(lines, 'message', MAX_MESSAGE);
  if ((code === undefined) !== (message === undefined))
    throw lines.fail('a refusal has a code and a message');
  lines.end();
  return {
    index,
    time,
    clock,
    act,
    channel,
    release,
    manifest,
    serial,
    counter,
    rollbackFrom,
    origin,
    seals,
    signers,
    file: sha256 === undefined || path === undefined ? undefined : { sha256, path },
    refusal: code === undefined || message === undefined ? undefined : { code, message },
  };
}

function optionalTime(lines: LineReader, key: string): number | undefined {
  return lines.has(key) ? lines.time(key) : undefined;
}

function shortText(lines: LineReader, key: string, most: number): string | undefined {
  const text = lines.optionalText(key);
  if (text !== undefined && text.length > most) throw lines.fail(`${key} is longer than ${most} bytes`);
  return text;
}

function isSha256(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

function isFingerprint(text: string): boolean {
  return /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(text);
}
