import { z } from 'zod';
import { Malformed } from '../errors/malformed.ts';
import { REFUSAL_CODES, type RefusalCode } from '../errors/refusal.ts';
import { mistakeInWords, OUR_WORDS } from '../errors/schema-words.ts';
import { ROOT_MODES, type RootMode } from '../formats/records/policy-floor.ts';
import type { Outcome } from '../release/server-event.ts';
import { TRUST_LEVELS, type TrustLevel } from '../release/trust-level.ts';
import { BOOT_OUTCOMES, type BootOutcome } from './boot-outcome.ts';

/** The stages of a boot, in their order, as a server sees them. */
export const STAGES = [
  /** It was told over DHCP what to load. */
  'dhcp',
  /** iPXE, a GRUB image: what it was told to load. */
  'loader',
  /** What decides which release it boots: `boot.ipxe`, `grub.cfg`. */
  'script',
  /** The kernel, or a UKI. */
  'kernel',
  'initrd',
  /** Early userspace asks for the release's records: the kernel runs. */
  'userspace',
  /** The root image, over NBD or HTTP. */
  'root',
  /** Early userspace says what came of it. */
  'report',
] as const;

export type Stage = (typeof STAGES)[number];

/** How it is known that something belongs to this boot, the surest first. All of it is what machines claim. */
export const JOINS = [
  /** The id of an armed boot, or a nonce. */
  'id',
  /** It said its card's address. */
  'mac',
  /** Its address belongs to that card, as this server's own network says. */
  'neighbour',
  /** By its address alone: guessed. */
  'address',
] as const;

export type Join = (typeof JOINS)[number];

export const ROUTES = ['ipxe', 'grub', 'uki', 'http', 'unknown'] as const;

/** What a boot goes through: which loader, an image that firmware starts, or firmware that loads over HTTP. */
export type Route = (typeof ROUTES)[number];

/** One stage of one boot. Times are milliseconds since 1970. */
export interface StageRecord {
  readonly stage: Stage;
  readonly begin: number;
  /** Of the last that was heard of it; undefined while it goes on. */
  readonly end?: number;
  /** That were sent. */
  readonly bytes: number;
  /** That a mirror was to send, where the machine was sent there. */
  readonly byMirror?: number;
  /** Undefined while it goes on. Of several files: of the last. */
  readonly outcome?: Outcome | 'offered' | 'said';
  readonly join: Join;
  /** The file that was asked for last, an export, or what was said: escaped and bounded. */
  readonly what: string;
}

/** What is kept of one boot. All that a machine says of itself is claimed. */
export interface Receipt {
  /** `mb1x2c3d-0f1e2d3c`: when it began, and 32 random bits. */
  readonly boot: string;
  /** Milliseconds since 1970. */
  readonly began: number;
  readonly outcome: BootOutcome;
  /** The furthest that it came. */
  readonly stage: Stage;
  /** `52:54:00:12:34:56`; empty: it never said. */
  readonly machine: string;
  /** Undefined: it never came to a script. */
  readonly trust?: TrustLevel;
  /** Why it was refused. */
  readonly code?: RefusalCode;
  readonly release?: string;
  /** Milliseconds since 1970, of the last that was heard of it; undefined while it runs. */
  readonly ended?: number;
  /** Since when nothing is heard of it, though it should be; milliseconds since 1970. */
  readonly quietSince?: number;
  readonly route: Route;
  /** `uname -m`, or what its firmware said. */
  readonly arch?: string;
  readonly uuid?: string;
  readonly addresses: readonly string[];
  /** The file name of its loader. */
  readonly loader?: string;
  /** dm-verity root hash of the release, where it has one. */
  readonly rootHash?: string;
  readonly root?: RootMode;
  /** Of a refusal or fault: one sentence. */
  readonly message?: string;
  /** Who says how it ended: the machine, by a report; or the server, by what it saw. */
  readonly by?: 'report' | 'server' | 'loader';
  /** The armed boot that it is. */
  readonly once?: string;
  /** Other machines ask from its address: what came by address alone is in no receipt. */
  readonly shared?: boolean;
  /** Why something is missing here: this server could not write it down at the time. */
  readonly incomplete?: string;
  readonly stages: readonly StageRecord[];
  /** What its loader or early userspace showed last, the oldest first. Claimed. */
  readonly lines: readonly string[];
}

/** What a receipt holds at most: stages with their repeats, lines of a console, addresses. */
export const MOST_STAGES = 16;
export const MOST_LINES = 20;
export const MOST_ADDRESSES = 4;
/** Characters of its message. */
export const MOST_MESSAGE = 1024;
/** Bytes of one line of a segment. */
export const MAX_RECEIPT = 16 * 1024;

const TIME = z.iso.datetime({ precision: 3 }).transform((text) => Date.parse(text));
const RECEIPT = z.strictObject({
  boot: z.string().regex(/^[0-9a-z]{8,9}-[0-9a-f]{8}$/),
  began: TIME,
  outcome: z.enum(BOOT_OUTCOMES),
  stage: z.enum(STAGES),
  machine: z.string().regex(/^(([0-9a-f]{2}:){5}[0-9a-f]{2})?$/),
  trust: z.enum(Object.keys(TRUST_LEVELS) as [TrustLevel, ...TrustLevel[]]).optional(),
  code: z.enum(REFUSAL_CODES).optional(),
  release: z.string().optional(),
  ended: TIME.optional(),
  quietSince: TIME.optional(),
  route: z.enum(ROUTES),
  arch: z.string().optional(),
  uuid: z.string().optional(),
  addresses: z.array(z.string()).max(MOST_ADDRESSES),
  loader: z.string().optional(),
  rootHash: z.string().optional(),
  root: z.enum(ROOT_MODES).optional(),
  message: z.string().optional(),
  by: z.enum(['report', 'server', 'loader']).optional(),
  once: z.string().optional(),
  shared: z.boolean().optional(),
  incomplete: z.string().optional(),
  stages: z
    .array(
      z.strictObject({
        stage: z.enum(STAGES),
        begin: TIME,
        end: TIME.optional(),
        bytes: z.number().int().min(0),
        byMirror: z.number().int().min(0).optional(),
        outcome: z.string().optional(),
        join: z.enum(JOINS),
        what: z.string(),
      }),
    )
    .max(MOST_STAGES),
  lines: z.array(z.string()).max(MOST_LINES),
});

/** As JSON has it: times in ISO 8601 with milliseconds, keys in one order. */
export function receiptFacts(receipt: Receipt): Readonly<Record<string, unknown>> {
  const { boot, began, outcome, stage, machine, trust, code, release, ended, quietSince, ...rest } = receipt;
  const stages = receipt.stages.map(({ begin, end, ...more }) => {
    const { stage: name, ...others } = more;
    return { stage: name, begin: iso(begin), ...(end === undefined ? {} : { end: iso(end) }), ...others };
  });
  return {
    ...{ boot, began: iso(began), outcome, stage, machine },
    ...(trust === undefined ? {} : { trust }),
    ...(code === undefined ? {} : { code }),
    ...(release === undefined ? {} : { release }),
    ...(ended === undefined ? {} : { ended: iso(ended) }),
    ...(quietSince === undefined ? {} : { quietSince: iso(quietSince) }),
    ...rest,
    stages,
  };
}

/**
 * One line of a segment, its newline with it: at most `MAX_RECEIPT` bytes. Where it would be more, the oldest lines of the
 * console are left out: whoever fills them (with what JSON has to escape) keeps no receipt from being written.
 */
export function encodeReceipt(receipt: Receipt): Buffer {
  let { lines } = receipt;
  for (;;) {
    const line = Buffer.from(`${JSON.stringify(receiptFacts({ ...receipt, lines }))}\n`);
    if (line.length <= MAX_RECEIPT || lines.length === 0) return line;
    lines = lines.slice(1);
  }
}

/** @throws Malformed */
export function decodeReceipt(line: string): Receipt {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Malformed('receipt', 'no JSON');
  }
  const result = RECEIPT.safeParse(value, OUR_WORDS);
  if (!result.success) throw new Malformed('receipt', mistakeInWords(result.error));
  return result.data as Receipt;
}

/** What an index keeps of a receipt. */
export type ReceiptHead = Pick<
  Receipt,
  'boot' | 'began' | 'outcome' | 'stage' | 'machine' | 'trust' | 'code' | 'release' | 'ended'
>;

const HEAD = new RegExp(
  [
    '^\\{"boot":"([0-9a-z]{8,9}-[0-9a-f]{8})","began":"([^"\\\\]{24})","outcome":"([a-z]+)","stage":"([a-z]+)"',
    ',"machine":"([0-9a-f:]{0,17})"(?:,"trust":"([a-z-]+)")?(?:,"code":"([a-z-]+)")?',
    '(?:,"release":"([^"\\\\]+)")?(?:,"ended":"([^"\\\\]{24})")?',
  ].join(''),
);
/** Bytes in which the head of a line stands. */
export const HEAD_BYTES = 512;

/**
 * The head of a line of a segment, without reading the rest as JSON: a million of them are read when a server starts.
 *
 * @returns undefined where the line is none of ours.
 */
export function decodeReceiptHead(line: string): ReceiptHead | undefined {
  const [, boot, began = '', outcome, stage, machine, trust, code, release, ended] = HEAD.exec(line) ?? [];
  if (boot === undefined || machine === undefined) return undefined;
  if (!isOneOf(BOOT_OUTCOMES, outcome) || !isOneOf(STAGES, stage)) return undefined;
  const begun = Date.parse(began);
  if (Number.isNaN(begun)) return undefined;
  return {
    ...{ boot, began: begun, outcome, stage, machine },
    ...(trust !== undefined && trust in TRUST_LEVELS ? { trust: trust as TrustLevel } : {}),
    ...(isOneOf(REFUSAL_CODES, code) ? { code } : {}),
    ...(release === undefined ? {} : { release }),
    ...(ended === undefined ? {} : { ended: Date.parse(ended) }),
  };
}

function isOneOf<T extends string>(all: readonly T[], text: string | undefined): text is T {
  return text !== undefined && (all as readonly string[]).includes(text);
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

/** The id of a boot. @param random 32 bits. */
export function bootId(began: number, random: number): string {
  return `${Math.floor(began).toString(36).padStart(8, '0')}-${random.toString(16).padStart(8, '0')}`;
}

/** What an id says; undefined for what is none. */
export function decodeBootId(boot: string): { readonly began: number; readonly random: number } | undefined {
  const [, began = '', random = ''] = /^([0-9a-z]{8,9})-([0-9a-f]{8})$/.exec(boot) ?? [];
  if (began === '') return undefined;
  return { began: Number.parseInt(began, 36), random: Number.parseInt(random, 16) };
}
