import { Malformed } from '../../errors/malformed.ts';
import { claimedMac, claimedUuid } from '../net/machine-claims.ts';
import { isCommandLineWord } from '../script/cmdline.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafePath } from './safe-path.ts';

/**
 * What is kept of a boot that happens once. An *arming* is written when an operator arms a machine, and never changed;
 * a *consumption* ends it, and there is at most one. Lines as in the manifest, one way to write each:
 *
 *     bootseal-arming 1
 *     id 0123456789abcdef
 *     mac 52:54:00:12:34:56
 *     uuid 564d0000-0000-0000-0000-000000000001
 *     loader ipxe
 *     release debian/2026.11.01
 *     manifest <sha256>
 *     script <sha256>
 *     words bootseal.once=0123456789abcdef
 *     armed 2026-11-01T10:00:00Z
 *     ends 2026-11-01T14:00:00Z
 *     by uid 1000
 *     then local
 *     proof report
 *
 * and, where no report is possible, `proof files` and a line `leaves arch/boot/vmlinuz-linux` for each file.
 */
export interface Arming {
  /** 16 hex digits, random: of this arming, and no other of the same machine. */
  readonly id: string;
  /** `52:54:00:12:34:56` */
  readonly mac: string;
  /** Lower-case hex with dashes; undefined: any machine with that card. */
  readonly uuid?: string | undefined;
  /** Which loader the script is for. */
  readonly loader: 'ipxe' | 'grub';
  readonly release: string;
  /** SHA-256 of the release's manifest, lower-case hex. */
  readonly manifest: string;
  /** SHA-256 of the script, by which it is found, lower-case hex. */
  readonly script: string;
  /** Free words that the script adds to the command line. */
  readonly words: readonly string[];
  /** Milliseconds since 1970, whole seconds. */
  readonly armed: number;
  /** Milliseconds since 1970, whole seconds; at most 24 hours after `armed`. */
  readonly ends: number;
  /** Who armed it: printable ASCII, at most 100 bytes. */
  readonly by: string;
  /** What the machine boots once this is consumed. */
  readonly afterwards: AfterOnce;
  /**
   * The files that must have left whole before it is consumed, by their path in the release; undefined: early userspace
   * reports, and that consumes it.
   */
  readonly leaves?: readonly string[] | undefined;
}

export type AfterOnce = 'local' | 'usual';

/** How an arming ended. Only the first two say that the machine booted it. */
export const WAYS_CONSUMED = ['report', 'files', 'cancelled', 'ended'] as const;
export type WayConsumed = (typeof WAYS_CONSUMED)[number];

/**
 *     bootseal-consumption 1
 *     id 0123456789abcdef
 *     how report
 *     time 2026-11-01T10:05:00Z
 *     address 10.0.0.15
 *     nonce <sha256>
 */
export interface Consumption {
  readonly id: string;
  readonly how: WayConsumed;
  /** Milliseconds since 1970, whole seconds. */
  readonly time: number;
  /** The address that it came from; a claim. Undefined where no machine had a part in it. */
  readonly address?: string | undefined;
  /** SHA-256 of the nonce that was answered, lower-case hex: who asks again with that nonce gets the same answer. */
  readonly nonce?: string | undefined;
}

/** Bytes of either record. */
export const MAX_ARMING = 8192;
/** Milliseconds that an arming may last: the leaf that signs its script ends within them (DESIGN §3, rule 3). */
export const LONGEST_ARMING = 24 * 3_600_000;
/** Free words, and files that leave: a release has few. */
const MAX_WORDS = 32;
const MAX_LEAVES = 64;
const MAX_BY = 100;

const ARMING = 'bootseal-arming 1';
const CONSUMPTION = 'bootseal-consumption 1';

/** True for the id of an arming. */
export function isArmingId(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

/** True for a card's address as it is kept: `52:54:00:12:34:56`. */
export function isKeptMac(text: string): boolean {
  return claimedMac(text) === text;
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeArming(arming: Arming): Uint8Array {
  const bytes = joined('arming', [
    ARMING,
    `id ${arming.id}`,
    `mac ${arming.mac}`,
    ...(arming.uuid === undefined ? [] : [`uuid ${arming.uuid}`]),
    `loader ${arming.loader}`,
    `release ${arming.release}`,
    `manifest ${arming.manifest}`,
    `script ${arming.script}`,
    ...(arming.words.length === 0 ? [] : [`words ${arming.words.join(' ')}`]),
    `armed ${isoSeconds(arming.armed)}`,
    `ends ${isoSeconds(arming.ends)}`,
    `by ${arming.by}`,
    `then ${arming.afterwards}`,
    `proof ${arming.leaves === undefined ? 'report' : 'files'}`,
    ...(arming.leaves ?? []).map((path) => `leaves ${path}`),
  ]);
  decodeArming(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeArming(bytes: Uint8Array): Arming {
  const lines = readerOf('arming', bytes, ARMING);
  const one = (key: string, fits: (text: string) => boolean) => {
    const text = lines.one(key);
    if (!fits(text)) throw lines.fail(key);
    return text;
  };
  const id = one('id', isArmingId);
  const mac = one('mac', isKeptMac);
  const [uuid] = lines.optional('uuid', 1) ?? [];
  if (uuid !== undefined && claimedUuid(uuid) !== uuid) throw lines.fail('uuid');
  const loader = one('loader', (text) => text === 'ipxe' || text === 'grub') as Arming['loader'];
  const release = one('release', isReleaseId);
  const manifest = one('manifest', isSha256);
  const script = one('script', isSha256);
  const words = lines.optionalWords('words') ?? [];
  if (words.length > MAX_WORDS || !words.every(isCommandLineWord)) throw lines.fail('words');
  const armed = lines.time('armed');
  const ends = lines.time('ends');
  if (ends <= armed || ends - armed > LONGEST_ARMING) throw lines.fail('ends is not within 24 hours');
  const by = lines.optionalText('by');
  if (by === undefined || by.length > MAX_BY) throw lines.fail('by');
  const afterwards = one('then', (text) => text === 'local' || text === 'usual') as AfterOnce;
  const proof = one('proof', (text) => text === 'report' || text === 'files');
  const leaves: string[] = [];
  for (let fields = lines.optional('leaves', 1); fields; fields = lines.optional('leaves', 1)) {
    const [path = ''] = fields;
    if (!isSafePath(path) || leaves.includes(path)) throw lines.fail('leaves');
    leaves.push(path);
  }
  // Where nothing has to leave, nothing would ever consume it.
  if (proof === 'files' ? leaves.length === 0 || leaves.length > MAX_LEAVES : leaves.length > 0)
    throw lines.fail('leaves');
  lines.end();
  return {
    id,
    mac,
    uuid,
    loader,
    release,
    manifest,
    script,
    words,
    armed,
    ends,
    by,
    afterwards,
    leaves: proof === 'files' ? leaves : undefined,
  };
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeConsumption({ id, how, time, address, nonce }: Consumption): Uint8Array {
  const bytes = joined('consumption', [
    CONSUMPTION,
    `id ${id}`,
    `how ${how}`,
    `time ${isoSeconds(time)}`,
    ...(address === undefined ? [] : [`address ${address}`]),
    ...(nonce === undefined ? [] : [`nonce ${nonce}`]),
  ]);
  decodeConsumption(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeConsumption(bytes: Uint8Array): Consumption {
  const lines = readerOf('consumption', bytes, CONSUMPTION);
  const id = lines.one('id');
  if (!isArmingId(id)) throw lines.fail('id');
  const said = lines.one('how');
  const how = WAYS_CONSUMED.find((way) => way === said);
  if (how === undefined) throw lines.fail('how');
  const time = lines.time('time');
  const [address] = lines.optional('address', 1) ?? [];
  if (address !== undefined && !/^[!-~]{1,64}$/.test(address)) throw lines.fail('address');
  const [nonce] = lines.optional('nonce', 1) ?? [];
  if (nonce !== undefined && !isSha256(nonce)) throw lines.fail('nonce');
  lines.end();
  return { id, how, time, address, nonce };
}

function joined(format: string, lines: readonly string[]): Uint8Array {
  // Joined, a value that breaks its line would be read as two.
  if (lines.some((line) => line.includes('\n'))) throw new Malformed(format, 'a value that breaks its line');
  return Buffer.from(`${lines.join('\n')}\n`, 'latin1');
}

function readerOf(format: string, bytes: Uint8Array, magic: string): LineReader {
  if (bytes.length > MAX_ARMING) throw new Malformed(format, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(format, 'not lines of ASCII');
  const lines = new LineReader(format, text.slice(0, -1).split('\n'));
  if (lines.next() !== magic) throw lines.fail(`the first line is not "${magic}"`);
  return lines;
}

function isSha256(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}
