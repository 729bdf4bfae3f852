import { randomBytes } from 'node:crypto';
import { UsageError } from '../errors/usage.ts';
import { isChannelName } from '../formats/records/safe-path.ts';
import { logAct } from '../publish/log-act.ts';
import { openExistingState } from '../store/state.ts';
import { stateTime } from '../store/state-json.ts';
import { SCOPES, type Scope } from '../store/token-scopes.ts';
import {
  demandHoldsTokens,
  MAX_TOKENS,
  readTokens,
  TOKEN_PREFIX,
  type Token,
  tokenDigest,
  writeTokens,
} from '../store/tokens.ts';

export interface AddTokenOptions {
  readonly state: string;
  /** What people call it: as a channel is named. */
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Milliseconds since 1970; absent: it has no end. */
  readonly ends?: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** A folder of the shape that `init` makes; default: the state's own. It signs the log. */
  readonly snapshotKey?: string;
}

export interface AddedToken {
  /** The token: it is nowhere else, and nobody can find it again. */
  readonly secret: string;
  readonly token: Token;
}

/**
 * Makes a token: 256 random bits. On record in the log before it counts.
 *
 * @throws UsageError for a name that is taken, or what cannot be meant; IoError; a `Refusal` of the tokens or the log.
 */
export async function addToken(options: AddTokenOptions): Promise<AddedToken> {
  const { name, now, ends, snapshotKey } = options;
  if (!isChannelName(name))
    throw new UsageError('The name of a token is small letters, digits, dots, dashes and underscores.');
  const scopes = SCOPES.filter((scope) => options.scopes.includes(scope));
  if (scopes.length === 0) throw new UsageError(`A token needs a scope: ${SCOPES.join(', ')}.`);
  if (ends !== undefined && ends <= now)
    throw new UsageError('A token whose end has passed is good for nothing.');
  // Before anything is on record.
  demandHoldsTokens(options.state);
  const state = await openExistingState(options.state);
  try {
    const before = await readTokens(state.folder);
    if (before.some((token) => token.name === name))
      throw new UsageError(`There is a token ${name} already; revoke it first, or choose another name.`);
    if (before.length >= MAX_TOKENS)
      throw new UsageError(`A state has at most ${MAX_TOKENS} tokens; revoke those that nobody uses.`);
    const secret = `${TOKEN_PREFIX}${randomBytes(32).toString('base64url')}`;
    const token: Token = {
      name,
      scopes,
      sha256: tokenDigest(secret),
      made: stateTime(now),
      ...(ends === undefined ? {} : { ends: stateTime(ends) }),
    };
    const origin = `token ${name} made, for ${scopes.join(', ')}, until ${token.ends ?? 'it is revoked'}`;
    await logAct(state.folder, { time: now, act: 'token', origin }, snapshotKey);
    await writeTokens(state.folder, [...before, token]);
    return { secret, token };
  } finally {
    await state.release();
  }
}

export interface RevokeTokenOptions {
  readonly state: string;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** A folder of the shape that `init` makes; default: the state's own. It signs the log. */
  readonly snapshotKey?: string;
}

/**
 * Makes a token good for nothing, and every session that it began: at once, also for servers that run. Before it is on
 * record: a log that cannot be written must keep nobody in.
 *
 * @returns why it is not on record; undefined where it is.
 * @throws UsageError where there is no such token; IoError; a `Refusal` of the tokens. Then nothing was revoked.
 */
export async function revokeToken({
  state: folder,
  name,
  now,
  snapshotKey,
}: RevokeTokenOptions): Promise<unknown> {
  const state = await openExistingState(folder);
  try {
    const before = await readTokens(state.folder);
    const after = before.filter((token) => token.name !== name);
    if (after.length === before.length)
      throw new UsageError(`There is no token ${name} in ${folder}; "bootseal token list" names them.`);
    await writeTokens(state.folder, after);
    const act = { time: now, act: 'token', origin: `token ${name} revoked` } as const;
    return await logAct(state.folder, act, snapshotKey).then(
      () => undefined,
      (error: unknown) => error,
    );
  } finally {
    await state.release();
  }
}
