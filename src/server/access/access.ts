import { Refusal } from '../../errors/refusal.ts';
import type { Log } from '../../serve/event-log.ts';
import type { PageRequest } from '../../serve/http/http-types.ts';
import type { Way } from '../../serve/http/request-way.ts';
import type { Shares } from '../../serve/shares.ts';
import type { Scope } from '../../store/token-scopes.ts';
import { findToken, isLive, type Token } from '../../store/tokens.ts';
import { demandOwnForm, demandSameOrigin } from './cross-site.ts';
import { FailedTries } from './failed-tries.ts';
import { isOwnHost } from './own-host.ts';
import { type Session, Sessions } from './sessions.ts';

/** Who asks. */
export interface Caller {
  /** Of the token; empty where nobody showed one. */
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly via: 'token' | 'session' | 'open';
  /** Of a session: what a form of a page must hold as its field `csrf`. */
  readonly formToken: string | undefined;
}

export interface AccessOptions {
  /** The tokens as they are at the moment of a question; undefined: this server has no state, and nobody may write. */
  readonly tokens: (() => Promise<readonly Token[]>) | undefined;
  /** What is told where there are none; default: that this server has no state. */
  readonly closed?: string;
  /** Whether reading needs a token. */
  readonly read: 'open' | 'token';
  /** Names under which people use the server, in small letters. */
  readonly hosts: readonly string[];
  readonly shares: Shares;
  /** Milliseconds since 1970: what ends of tokens are judged by. */
  readonly clock: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly log: Log;
}

const OPEN: Caller = { name: '', scopes: [], via: 'open', formToken: undefined };

/** `Authorization: Bearer …` (RFC 6750 §2.1). Another scheme is a matter between the client and a proxy. */
const BEARER = /^Bearer(?: +(\S+))? *$/i;

/**
 * Who may use the API and the page. Every answer is made of what is true at the moment of the request: the tokens are read
 * anew each time one is shown, so one that was revoked is good for nothing at once, nor is any session that it began.
 * Tokens that cannot be read are not "no tokens": then nobody may write.
 */
export class Access {
  readonly #options: AccessOptions;
  readonly #sessions: Sessions;
  readonly #tries: FailedTries;
  /** Why the tokens cannot be read. */
  #fault: string | undefined;

  constructor(options: AccessOptions) {
    this.#options = options;
    this.#sessions = new Sessions(options.monotonic);
    this.#tries = new FailedTries(options.shares, options.monotonic);
  }

  /** What an operator should know, one sentence each. */
  get warnings(): readonly string[] {
    // Why is in the log: it names files, and everybody sees this.
    return this.#fault === undefined
      ? []
      : ['nobody may write by the API: the tokens cannot be read, and the log says why'];
  }

  /** Looks whether the tokens can be read. */
  async look(): Promise<void> {
    await this.#tokens();
  }

  /**
   * Whether somebody may read: everybody, or who has a token with the scope `read`, as the configuration says.
   *
   * @param read `token`: what is asked for needs one in any case.
   */
  async mayRead(request: PageRequest, read = this.#options.read): Promise<Refusal | Caller> {
    if (!isOwnHost(request.headers.host, this.#options.hosts)) return misdirected();
    const caller = await this.#callerOf(request);
    if (read === 'open') {
      // Whoever shows a token wants to be told where it is none; a cookie the browser shows by itself.
      const isShown = bearerOf(request) !== undefined;
      return caller === undefined || (caller instanceof Refusal && !isShown) ? OPEN : caller;
    }
    if (caller === undefined) return nobody('Reading needs a token here', request.way);
    return caller instanceof Refusal ? caller : demandScope(caller, 'read');
  }

  /**
   * Whether somebody may change something. A session's request must come from a page of this server's own: its Origin is
   * this server, and it is JSON, or a form that holds the session's own word.
   */
  async mayWrite(request: PageRequest, scope: Scope): Promise<Refusal | Caller> {
    const { headers, way } = request;
    if (!isOwnHost(headers.host, this.#options.hosts)) return misdirected();
    if (this.#options.tokens === undefined)
      return new Refusal(
        'forbidden',
        this.#options.closed ??
          'This server serves a tree without a state, and nothing can be changed by it.',
      );
    if (way === 'plain') return tooOpen();
    const caller = await this.#callerOf(request);
    if (caller === undefined) return nobody('This needs a token', way);
    if (caller instanceof Refusal) return caller;
    const foreign =
      caller.formToken === undefined
        ? undefined
        : (demandSameOrigin(request, 'needed') ?? demandOwnForm(request, caller.formToken));
    return foreign ?? demandScope(caller, scope);
  }

  /** Whether a stream that was begun for somebody may go on: with each piece, and without being a request of theirs. */
  async mayStay(request: PageRequest, caller: Caller): Promise<boolean> {
    const now = await this.#callerOf(request, false);
    return now !== undefined && !(now instanceof Refusal) && now.name === caller.name;
  }

  /**
   * Begins a session for who shows a token. One that the browser had before is over.
   *
   * @returns what the cookie holds, and who that is.
   */
  async signIn(
    request: PageRequest,
    shown: string,
  ): Promise<Refusal | { readonly id: string; readonly caller: Caller }> {
    const { headers, way } = request;
    if (!isOwnHost(headers.host, this.#options.hosts)) return misdirected();
    if (way === 'plain') return tooOpen();
    // Else a page of somebody's could sign a browser in as whom its owner likes, who then sees what is done.
    const foreign = demandSameOrigin(request, 'where-said');
    if (foreign !== undefined) return foreign;
    const token = await this.#tokenOf(request, shown);
    if (token instanceof Refusal) return token;
    this.#sessions.end(headers, way);
    const { id, session } = this.#sessions.begin(token.sha256, way);
    this.#options.log.info({ remote: request.remote, token: token.name }, 'somebody signed in');
    return { id, caller: sessionCaller(token, session) };
  }

  /** Ends the session of a request, which must come from a page of this server's own. */
  async signOut(request: PageRequest): Promise<Refusal | undefined> {
    const { headers, way } = request;
    if (!isOwnHost(headers.host, this.#options.hosts)) return misdirected();
    const session = this.#sessions.find(headers, way);
    if (session === undefined) return undefined;
    const foreign = demandSameOrigin(request, 'needed') ?? demandOwnForm(request, session.formToken);
    if (foreign === undefined) this.#sessions.end(headers, way);
    return foreign;
  }

  /** Undefined where nobody says who they are. @param asks false: a session is as idle as before. */
  async #callerOf(request: PageRequest, asks = true): Promise<Refusal | Caller | undefined> {
    const { headers, way } = request;
    const shown = bearerOf(request);
    if (shown !== undefined) {
      if (way === 'plain') return tooOpen();
      const token = await this.#tokenOf(request, shown);
      if (token instanceof Refusal) return token;
      return { name: token.name, scopes: token.scopes, via: 'token', formToken: undefined };
    }
    // An unknown cookie is no try: a page that was left open shows it again and again once its session has ended.
    const session = way === 'plain' ? undefined : this.#sessions.find(headers, way, asks);
    if (session === undefined) return undefined;
    const tokens = await this.#tokens();
    if (tokens instanceof Refusal) return tokens;
    const token = tokens.find(({ sha256 }) => sha256 === session.sha256);
    if (token !== undefined && isLive(token, this.#options.clock())) return sessionCaller(token, session);
    this.#sessions.end(headers, way);
    return undefined;
  }

  async #tokenOf({ remote }: PageRequest, shown: string): Promise<Refusal | Token> {
    const seconds = this.#tries.waitOf(remote);
    if (seconds > 0)
      return new Refusal(
        'too-often',
        `Too many tokens that are none were shown from this address; try again in ${seconds} seconds.`,
        { seconds },
      );
    const tokens = await this.#tokens();
    if (tokens instanceof Refusal) return tokens;
    const token = findToken(tokens, shown, this.#options.clock());
    if (token !== undefined) return token;
    this.#tries.count(remote);
    return new Refusal('unauthorized', 'That token is none of this server, or was revoked, or has ended.', {
      shown: true,
    });
  }

  async #tokens(): Promise<readonly Token[] | Refusal> {
    const { tokens, log } = this.#options;
    if (tokens === undefined) return [];
    try {
      const all = await tokens();
      this.#fault = undefined;
      return all;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== this.#fault)
        log.error({ reason: message }, 'the tokens cannot be read, and nobody may write');
      this.#fault = message;
      return new Refusal('unreachable', 'The tokens of this server cannot be read now; its log says why.');
    }
  }
}

/** The token that a request shows; empty where it says that it does and has none. */
function bearerOf({ headers }: PageRequest): string | undefined {
  const match = BEARER.exec(headers.authorization ?? '');
  return match === null ? undefined : (match[1] ?? '');
}

function sessionCaller({ name, scopes }: Token, { formToken }: Session): Caller {
  return { name, scopes, via: 'session', formToken };
}

function demandScope(caller: Caller, scope: Scope): Refusal | Caller {
  if (caller.scopes.includes(scope)) return caller;
  return new Refusal('forbidden', `The token ${caller.name} may not do this; it needs the scope ${scope}.`, {
    token: caller.name,
    scope,
  });
}

/** The name is not said again: whoever wrote it may have written anything. */
function misdirected(): Refusal {
  return new Refusal(
    'misdirected',
    'This server is not used under that name: use its address, or have the name added to "hosts" of [api] in its configuration.',
  );
}

function nobody(what: string, way: Way): Refusal {
  return way === 'plain'
    ? tooOpen()
    : new Refusal('unauthorized', `${what}: sign in, or send it as "Authorization: Bearer TOKEN".`);
}

function tooOpen(): Refusal {
  return new Refusal(
    'forbidden',
    'Tokens are taken over TLS or on the server itself, and this request came in the clear: use https (docs/api-access.md), or a proxy that the configuration names.',
  );
}
