import { createHash, timingSafeEqual } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { cannotRead, IoError, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { writeFileAtomically } from '../files/atomic-file.ts';
import { isChannelName } from '../formats/records/safe-path.ts';
import { isBucketState } from './s3/location.ts';
import { decodeStateJson, encodeStateJson, isStateTime } from './state-json.ts';
import { SCOPES, type Scope } from './token-scopes.ts';

/*
 * `STATE/tokens`: who may use the API of a server of this state, 0640: a server need not be the state's owner. A token itself is nowhere: what is kept is its
 * SHA-256, from which nobody finds 256 random bits.
 */

export const STATE_TOKENS = 'tokens';

/** Tokens of one state. */
export const MAX_TOKENS = 256;
/** Bytes of the file. */
const MAX_FILE = 256 * 1024;

const TOKEN = z.strictObject({
  /** What people call it; in logs and answers it stands for whoever has the token. */
  name: z.string().refine(isChannelName),
  /** In the order of `SCOPES`, none twice. */
  scopes: z
    .array(z.enum(SCOPES))
    .min(1)
    .refine(
      (scopes) => scopes.every((scope, at) => at === 0 || rank(scopes[at - 1]) < rank(scope)),
      'not in their order, each once',
    ),
  /** Of the whole token, prefix and all: lower-case hex. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  made: z.string().refine(isStateTime),
  /** From then on it is good for nothing; absent: it has no end. */
  ends: z.string().refine(isStateTime).optional(),
});

const TOKENS = z.strictObject({
  format: z.literal(1),
  tokens: z
    .array(TOKEN)
    .max(MAX_TOKENS)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'a name stands twice'),
});

export type Token = z.infer<typeof TOKEN>;

/**
 * The tokens of a state; none where there is no file, and none in a bucket, which never holds any.
 *
 * @throws Refusal `malformed` for a file that is not as it was written, `unsafe-keys` for one in which others may write;
 *   IoError. Neither means that there are none.
 */
export async function readTokens(state: string): Promise<readonly Token[]> {
  if (isBucketState(state)) return [];
  const path = join(state, STATE_TOKENS);
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const facts = await handle.stat();
    if (!facts.isFile()) throw new IoError(`${path} cannot be read: it is no file.`, path, undefined);
    demandOwner(path, facts.uid, facts.mode, (await stat(state)).uid);
    if (facts.size > MAX_FILE)
      throw new Refusal('too-large', `${path} has ${facts.size} bytes; no list of tokens is that long.`, {
        path,
      });
    return decodeStateJson(path, await handle.readFile(), TOKENS).tokens;
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error instanceof Refusal || error instanceof IoError ? error : cannotRead(path, error);
  } finally {
    await handle?.close();
  }
}

/** Throws a `UsageError` for a state that never holds tokens. */
export function demandHoldsTokens(state: string): void {
  if (!isBucketState(state)) return;
  throw new UsageError(
    `${state} is in a bucket, which holds no tokens: whoever reads it would read them, too. Use a state in a folder for a server with an API.`,
  );
}

/**
 * Writes the tokens of a state that the caller has opened. Where root does, the file is the state's owner's and its
 * group's: a server that runs as that one, or is in that group, must be able to read it.
 *
 * @throws UsageError for a bucket.
 */
export async function writeTokens(state: string, tokens: readonly Token[]): Promise<void> {
  demandHoldsTokens(state);
  const bytes = encodeStateJson({ format: 1, tokens });
  const path = join(state, STATE_TOKENS);
  decodeStateJson(path, bytes, TOKENS);
  const { uid, gid } = await stat(state);
  const owner = process.getuid?.() === 0 ? { owner: { uid, gid } } : {};
  await writeFileAtomically(path, bytes, { mode: 0o640, ...owner });
}

/** What begins every token: whoever finds one in a log or a repository knows what it is. */
export const TOKEN_PREFIX = 'bst_';

/** The digest of a token, as it is kept. */
export function tokenDigest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/**
 * The token that somebody has shown, if it is one. The same work for each that is kept, whether one fits or not: how long
 * it takes tells nobody how near a guess was.
 *
 * @param now milliseconds since 1970: one that has ended is none.
 */
export function findToken(tokens: readonly Token[], shown: string, now: number): Token | undefined {
  const digest = Buffer.from(tokenDigest(shown), 'hex');
  let found: Token | undefined;
  for (const token of tokens) if (timingSafeEqual(digest, Buffer.from(token.sha256, 'hex'))) found = token;
  return found !== undefined && isLive(found, now) ? found : undefined;
}

/** Whether a token has not ended. */
export function isLive({ ends }: Token, now: number): boolean {
  return ends === undefined || now < Date.parse(ends);
}

function rank(scope: Scope | undefined): number {
  return scope === undefined ? -1 : SCOPES.indexOf(scope);
}

/** Whoever owns the state could replace it whole. */
function demandOwner(path: string, uid: number, mode: number, owner: number): void {
  if (uid !== 0 && uid !== process.getuid?.() && uid !== owner)
    throw new Refusal(
      'unsafe-keys',
      `${path} is another user's (uid ${uid}), who may write tokens into it.`,
      {
        path,
      },
    );
  if ((mode & 0o022) === 0) return;
  throw new Refusal('unsafe-keys', `Others may write tokens into ${path}; run "chmod 640 ${path}".`, {
    path,
  });
}
