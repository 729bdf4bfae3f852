import { Malformed } from '../../errors/malformed.ts';
import { REFUSAL_CODES, type RefusalCode } from '../../errors/refusal.ts';
import { isArmingId, isKeptMac } from './armed-boot.ts';
import { ROOT_MODES, type RootMode } from './policy-floor.ts';
import { isReleaseId } from './safe-path.ts';

/**
 * What early userspace says of its boot (`early-userspace/report`), as JSON with one way to write it: no blanks, the keys in
 * this order, printable ASCII alone, and nothing escaped but the quote and the backslash.
 *
 *     {"mac":"52:54:00:12:34:56","nonce":"<32 hex>","outcome":"verified","release":"arch/2026.11.01","root":"verity"}
 *     {"mac":"52:54:00:12:34:56","nonce":"<32 hex>","outcome":"refused","code":"stale","message":"…","lines":["…"]}
 */
export type BootReport = VerifiedReport | RefusedReport;

interface ReportOf {
  readonly mac: string;
  /** 32 hex digits, given by the server for this report. */
  readonly nonce: string;
  /** The armed boot that it is. */
  readonly once?: string;
}

export interface VerifiedReport extends ReportOf {
  readonly outcome: 'verified';
  readonly release: string;
  readonly root: RootMode;
}

export interface RefusedReport extends ReportOf {
  readonly outcome: 'refused';
  readonly code: RefusalCode;
  /** 1 to 512 characters. */
  readonly message: string;
  /** Where the manifest was verified before. */
  readonly release?: string;
  /** Where it was known by then. */
  readonly root?: RootMode;
  /** What the console showed last, the oldest first: at most 20 of at most 128 characters. */
  readonly lines: readonly string[];
}

/** Bytes of a report: its texts are longest where every character of theirs is escaped. */
export const MAX_REPORT = 8192;

const MOST_MESSAGE = 512;
const MOST_LINES = 20;
const MOST_LINE = 128;
const PLAIN = /^[\x20-\x7e]*$/;

/** Writes the one canonical form; texts are cut, and what is not printable ASCII becomes question marks. */
export function encodeBootReport(report: BootReport): string {
  const { mac, nonce, once, outcome, release, root } = report;
  const whose = { mac, nonce, ...(once === undefined ? {} : { once }), outcome };
  if (outcome === 'verified') return JSON.stringify({ ...whose, release, root });
  const { code, message, lines } = report;
  return JSON.stringify({
    ...whose,
    code,
    message: plain(message, MOST_MESSAGE),
    ...(release === undefined ? {} : { release }),
    ...(root === undefined ? {} : { root }),
    lines: lines.slice(-MOST_LINES).map((line) => plain(line, MOST_LINE)),
  });
}

/** Byte by byte, as a shell would have it. */
function plain(text: string, most: number): string {
  return Buffer.from(text)
    .subarray(0, most)
    .toString('latin1')
    .replaceAll(/[^\x20-\x7e]/g, '?');
}

/** @throws Malformed for anything but the one canonical form: two readers could read two things in another. */
export function decodeBootReport(bytes: Uint8Array): BootReport {
  // A program may end what it sends with a newline.
  const text = Buffer.from(bytes).toString('latin1').replace(/\n$/, '');
  if (bytes.length > MAX_REPORT || !PLAIN.test(text)) throw malformed('it is too long, or not plain text');
  const value = parsed(text);
  const report = isObject(value) ? readReport(value) : undefined;
  if (!report || encodeBootReport(report) !== text) throw malformed('it is not written as reports are');
  return report;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed('it is no JSON');
  }
}

function readReport(value: Readonly<Record<string, unknown>>): BootReport | undefined {
  const { mac, nonce, once, outcome, release, root: said, code: named, message, lines } = value;
  if (!isText(mac) || !isKeptMac(mac) || !isText(nonce) || !/^[0-9a-f]{32}$/.test(nonce)) return undefined;
  if (once !== undefined && !(isText(once) && isArmingId(once))) return undefined;
  if (release !== undefined && !(isText(release) && isReleaseId(release))) return undefined;
  const root = ROOT_MODES.find((mode) => mode === said);
  if (said !== undefined && root === undefined) return undefined;
  const whose = { mac, nonce, ...(once === undefined ? {} : { once }) };
  if (outcome === 'verified')
    return release === undefined || root === undefined ? undefined : { ...whose, outcome, release, root };
  const code = REFUSAL_CODES.find((known) => known === named);
  if (outcome !== 'refused' || code === undefined || !isText(message) || message === '') return undefined;
  if (!Array.isArray(lines) || !lines.every(isText)) return undefined;
  return {
    ...{ ...whose, outcome, code, message, lines },
    ...(release === undefined ? {} : { release }),
    ...(root === undefined ? {} : { root }),
  };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function malformed(fact: string): Malformed {
  return new Malformed('report of a boot', fact);
}
