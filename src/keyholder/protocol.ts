import { resolve } from 'node:path';
import { z } from 'zod';
import { Malformed } from '../errors/malformed.ts';
import { REFUSAL_CODES } from '../errors/refusal.ts';
import { mistakeInWords, OUR_WORDS } from '../errors/schema-words.ts';
import { claimedUuid } from '../formats/net/machine-claims.ts';
import { isArmingId, isKeptMac, LONGEST_ARMING, MAX_ARMING } from '../formats/records/armed-boot.ts';
import { isChannelName, isReleaseId, isSafePath } from '../formats/records/safe-path.ts';
import { MAX_SNAPSHOT } from '../formats/records/snapshot.ts';
import { isCommandLineWord } from '../formats/script/cmdline.ts';
import { ASSIGNED } from '../machines/assigned-file.ts';
import { MAX_REASON } from '../store/withdrawals.ts';

/**
 * What is said over the keyholder's socket: one line of JSON each way, then the connection ends.
 *
 *     {"bootseal-keyholder":1,"ask":"renew","channel":"stable"}
 *     {"bootseal-keyholder":1,"answer":"done","did":"moved","snapshot":"bootseal-snapshot 1\n…","key":"<sha256>","warnings":[]}
 *
 * A request holds facts. It has no field for a text or a digest that is then signed, and no field may be added that holds
 * one: who may ask could have anything signed by it (DESIGN §3, rules 3 and 13). A tree is named and judged, like any
 * other. There is one way to write a line, so none has two meanings.
 */

/** Bytes of a line, its end included. */
export const MAX_LINE = 16_384;

const FORMAT = z.literal(1);
const CHANNEL = z.string().refine(isChannelName, 'no name of a channel');
const RELEASE = z.string().refine(isReleaseId, 'no NAME/VERSION');

const TREE = z
  .string()
  .max(4096)
  .refine((path) => resolve(path) === path && !/\p{Cc}/u.test(path), 'no absolute path');

/** Of a request that a server hands on: the name of the token by which it was told. It vouches for nothing. */
const BY = z.string().refine(isChannelName, 'no name of a token').optional();
const MAC = z.string().refine(isKeptMac, "no card's address");

const REQUEST = z.discriminatedUnion('ask', [
  z.strictObject({ 'bootseal-keyholder': FORMAT, ask: z.literal('renew'), channel: CHANNEL, by: BY }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    ask: z.literal('move'),
    channel: CHANNEL,
    release: RELEASE,
    by: BY,
  }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    ask: z.literal('publish'),
    channel: CHANNEL,
    /** A folder on the keyholder's machine, which its user can read. */
    tree: TREE,
    by: BY,
  }),
  z.strictObject({ 'bootseal-keyholder': FORMAT, ask: z.literal('apply'), channel: CHANNEL, by: BY }),
  z.strictObject({ 'bootseal-keyholder': FORMAT, ask: z.literal('checkpoint'), by: BY }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    ask: z.literal('arm'),
    mac: MAC,
    uuid: z
      .string()
      .refine((text) => claimedUuid(text) === text, 'no UUID')
      .optional(),
    release: RELEASE,
    /** Each fills a free parameter of the release, or is refused. */
    words: z.array(z.string().refine(isCommandLineWord, 'no word')).max(16),
    /** Milliseconds. */
    lasts: z.int().min(1000).max(LONGEST_ARMING),
    afterwards: z.enum(['local', 'usual']),
    loader: z.enum(['ipxe', 'grub']),
    /** Which arming it is to be: whoever asks twice for the same arms once. */
    id: z.string().refine(isArmingId, 'no id of an arming').optional(),
    by: BY,
  }),
  z.strictObject({ 'bootseal-keyholder': FORMAT, ask: z.literal('disarm'), mac: MAC, by: BY }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    ask: z.literal('consume'),
    mac: MAC,
    /** Of the arming. */
    id: z.string().refine(isArmingId, 'is no id of an arming'),
    /** `left`: a file of it has left whole, and nothing is over yet. */
    how: z.enum(['left', 'files', 'report', 'ended']),
    /** Which file has left: its path in the release. */
    path: z.string().refine(isSafePath, 'is no path in a release').optional(),
    /** Where the machine is; a claim. */
    address: z
      .string()
      .regex(/^[!-~]{1,64}$/, 'is no address')
      .optional(),
    /** SHA-256 of the nonce that was answered. */
    nonce: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'is no SHA-256')
      .optional(),
    by: BY,
  }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    ask: z.literal('assign'),
    mac: MAC,
    /** Absent: what was assigned to it is taken away. */
    assigned: ASSIGNED.optional(),
    by: BY,
  }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    ask: z.literal('withdraw'),
    release: RELEASE,
    reason: z.string().min(1).max(MAX_REASON),
    cutRunning: z.boolean(),
    by: BY,
  }),
]);

export type KeyholderRequest = z.infer<typeof REQUEST>;
/** A request without what every line has. */
export type Facts<R> = R extends unknown ? Omit<R, 'bootseal-keyholder'> : never;

const MESSAGE = z.string().min(1).max(2000);
/** What was found on the way; a message of a refusal has them in words. */
const FACTS = z.record(z.string().max(64), z.union([z.string().max(500), z.number(), z.boolean()]));
const COUNT = z.int().min(0);

const DONE = z.discriminatedUnion('did', [
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    answer: z.literal('done'),
    did: z.literal('moved'),
    /** The snapshot that the channel has now, as it was signed. */
    snapshot: z.string().max(MAX_SNAPSHOT),
    /** SHA-256 of the certificate of the key that signed it. */
    key: z.string().regex(/^[0-9a-f]{64}$/),
    warnings: z.array(z.string().max(1000)).max(8),
  }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    answer: z.literal('done'),
    did: z.literal('signed'),
    /** Entries of the log, all of them under its checkpoint now. */
    size: COUNT,
    /** How many of them had waited. */
    signed: COUNT,
    /** The oldest of those, in words. */
    entries: z.array(z.string().max(200)).max(50),
  }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    answer: z.literal('done'),
    did: z.literal('armed'),
    /** The arming as it is kept. */
    arming: z.string().max(MAX_ARMING),
    warnings: z.array(z.string().max(1000)).max(8),
  }),
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    answer: z.literal('done'),
    did: z.literal('wrote'),
    /** False: it was so already. */
    changed: z.boolean(),
    warnings: z.array(z.string().max(1000)).max(8),
  }),
]);
const NOT_DONE = z.discriminatedUnion('answer', [
  z.strictObject({
    'bootseal-keyholder': FORMAT,
    answer: z.literal('refused'),
    code: z.enum(REFUSAL_CODES),
    message: MESSAGE,
    facts: FACTS,
  }),
  z.strictObject({ 'bootseal-keyholder': FORMAT, answer: z.literal('usage'), message: MESSAGE }),
  z.strictObject({ 'bootseal-keyholder': FORMAT, answer: z.literal('io'), message: MESSAGE }),
]);
const ANSWER = z.union([DONE, NOT_DONE]);

export type Done = z.infer<typeof DONE>;
export type KeyholderAnswer = z.infer<typeof ANSWER>;

/** Writes a request's line. Throws `Malformed` for facts that are none. */
export function encodeRequest(facts: Facts<KeyholderRequest>): Uint8Array {
  const line = lineOf({ 'bootseal-keyholder': 1, ...facts });
  decodeRequest(line);
  return line;
}

/** Decodes a request's line, its end included. Throws `Malformed`. */
export function decodeRequest(line: Uint8Array): KeyholderRequest {
  return decode('request to the keyholder', line, REQUEST);
}

/** Writes an answer's line; one that would be too long says less. */
export function encodeAnswer(answer: KeyholderAnswer): Uint8Array {
  const short = shortened(answer);
  const line = lineOf(short);
  const kept = line.length > MAX_LINE ? lineOf(without(short)) : line;
  decodeAnswer(kept);
  return kept;
}

/** Decodes an answer's line, its end included. Throws `Malformed`. */
export function decodeAnswer(line: Uint8Array): KeyholderAnswer {
  return decode('answer of the keyholder', line, ANSWER);
}

function decode<T extends object>(format: string, line: Uint8Array, schema: z.ZodType<T>): T {
  if (line.length > MAX_LINE) throw new Malformed(format, `longer than ${MAX_LINE} bytes`);
  const text = Buffer.from(line).toString('utf8');
  if (!text.endsWith('\n')) throw new Malformed(format, 'a line without its end');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Malformed(format, 'no JSON');
  }
  const number = (value as { 'bootseal-keyholder'?: unknown } | null)?.['bootseal-keyholder'];
  if (number !== 1)
    throw new Malformed(
      format,
      `of format ${short(JSON.stringify(number) ?? 'none', 20)}; this Bootseal knows 1`,
    );
  const result = schema.safeParse(value, OUR_WORDS);
  if (!result.success) throw new Malformed(format, short(mistakeInWords(result.error), 200));
  // A key that stands twice, and every other way to write the same: two readers could read two things.
  if (!Buffer.from(lineOf(result.data)).equals(line)) throw new Malformed(format, 'written in another way');
  return result.data;
}

function lineOf(value: object): Uint8Array {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function short(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 3)}...`;
}

function shortened(answer: KeyholderAnswer): KeyholderAnswer {
  if (answer.answer !== 'done') return { ...answer, message: short(answer.message, 2000) };
  if (answer.did !== 'signed')
    return { ...answer, warnings: answer.warnings.slice(0, 8).map((text) => short(text, 1000)) };
  return { ...answer, entries: answer.entries.slice(0, 50).map((text) => short(text, 200)) };
}

/** The same without what a reader can do without. */
function without(answer: KeyholderAnswer): KeyholderAnswer {
  if (answer.answer === 'refused') return { ...answer, facts: {} };
  if (answer.answer !== 'done') return answer;
  return answer.did === 'signed' ? { ...answer, entries: [] } : { ...answer, warnings: [] };
}
