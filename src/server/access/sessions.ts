import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Way } from '../../serve/http/request-way.ts';

/** Milliseconds without a request after which a session ends. */
export const IDLE_MS = 12 * 3_600_000;
/** Sessions of one token, and of all: the one that was idle longest gives way. */
const MOST_OF_TOKEN = 32;
const MOST = 1024;

/** Somebody at a browser who has shown a token. */
export interface Session {
  /** The digest of that token: where it is gone, so is the session. */
  readonly sha256: string;
  readonly way: Way;
  /** What forms of this session carry, and pages of other sites do not know. */
  readonly formToken: string;
  /** Milliseconds of the monotonic clock, of the last request. */
  used: number;
}

/**
 * Sessions of browsers, in memory alone and by the digest of what the cookie holds: a server that starts again knows none.
 * What a cookie holds is always made here, at the moment of signing in; whatever a browser brought before is forgotten, so
 * nobody can have planted it (session fixation).
 */
export class Sessions {
  readonly #now: () => number;
  /** By digest; the one that was used last stands last. */
  readonly #all = new Map<string, Session>();

  /** @param now milliseconds of a monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
  }

  get size(): number {
    return this.#all.size;
  }

  /** @returns what the cookie holds: 256 random bits, base64url. */
  begin(sha256: string, way: Way): { readonly id: string; readonly session: Session } {
    const own = [...this.#all].filter(([, session]) => session.sha256 === sha256);
    if (own.length >= MOST_OF_TOKEN) this.#all.delete(own[0]?.[0] ?? '');
    else if (this.#all.size >= MOST) this.#all.delete([...this.#all.keys()][0] ?? '');
    const id = randomBytes(32).toString('base64url');
    const session: Session = {
      sha256,
      way,
      formToken: randomBytes(32).toString('base64url'),
      used: this.#now(),
    };
    this.#all.set(digest(id), session);
    return { id, session };
  }

  /** The session of a request that came by the same way as it began. @param asks it is not idle from then on. */
  find(headers: IncomingHttpHeaders, way: Way, asks = true): Session | undefined {
    const key = keyOf(headers, way);
    const session = key === undefined ? undefined : this.#all.get(key);
    if (key === undefined || session === undefined || session.way !== way) return undefined;
    const isIdle = this.#now() - session.used >= IDLE_MS;
    if (isIdle || asks) this.#all.delete(key);
    if (isIdle) return undefined;
    if (!asks) return session;
    session.used = this.#now();
    this.#all.set(key, session);
    return session;
  }

  /** Ends the session of a request, where it has one. */
  end(headers: IncomingHttpHeaders, way: Way): void {
    const key = keyOf(headers, way);
    if (key !== undefined) this.#all.delete(key);
  }
}

/**
 * The Set-Cookie of a session. With TLS its name demands of the browser that it came over TLS from this very host
 * (`__Host-`, RFC 6265bis §4.1.3.2): a neighbour of the same domain, or somebody on the wire, cannot set it.
 *
 * @param id empty: the cookie is to go.
 */
export function cookieOf(id: string, way: Way): string {
  const end = id === '' ? '; Max-Age=0' : '';
  return `${cookieName(way)}=${id}; Path=/; HttpOnly; SameSite=Strict${way === 'tls' ? '; Secure' : ''}${end}`;
}

/** True where two secrets are the same; how long it takes says nothing about where they differ. */
export function sameSecret(one: string, other: string): boolean {
  const of = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(of(one), of(other));
}

function cookieName(way: Way): string {
  return way === 'tls' ? '__Host-bootseal' : 'bootseal';
}

/** Undefined where there is no such cookie, or two of them: one of the two somebody else has set. */
function keyOf({ cookie = '' }: IncomingHttpHeaders, way: Way): string | undefined {
  const begin = `${cookieName(way)}=`;
  const own = cookie
    .split(';')
    .map((one) => one.trim())
    .filter((one) => one.startsWith(begin));
  const id = own.length === 1 ? own[0]?.slice(begin.length) : undefined;
  return id !== undefined && /^[A-Za-z0-9_-]{43}$/.test(id) ? digest(id) : undefined;
}

function digest(id: string): string {
  return createHash('sha256').update(id).digest('hex');
}
