import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { request as requestTls } from 'node:https';
import type { TestContext } from 'node:test';
import { decodeIpPrefix } from '../../../src/formats/net/ip-address.ts';
import { jsonAnswer } from '../../../src/serve/http/http-pages.ts';
import type { Pages } from '../../../src/serve/http/http-types.ts';
import { Shares } from '../../../src/serve/shares.ts';
import { Access, type AccessOptions } from '../../../src/server/access/access.ts';
import { guarded } from '../../../src/server/access/guarded.ts';
import { readFields } from '../../../src/server/access/request-fields.ts';
import { sessionPages } from '../../../src/server/access/session-pages.ts';
import type { Scope } from '../../../src/store/token-scopes.ts';
import { readTokens, tokenDigest, writeTokens } from '../../../src/store/tokens.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { readTlsPair, tlsPair } from '../../fixtures/tls-pair.ts';
import { serving } from '../../serve/http/harness.ts';
import { memorySite } from '../../serve/sites.ts';

const NOW = Date.parse('2026-11-01T00:00:00Z');
const folder = await temporaryFolder();
export const PAIR = await tlsPair(folder);
const pair = await readTlsPair(PAIR);

/** Tokens that look like those that are made, and can be read in a failing test. */
export function tokenOf(name: string): string {
  return `bst_${name.padEnd(43, '0')}`;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Of this machine: each is another client. */
  readonly from?: string;
  readonly tls?: boolean;
}

export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface Desk {
  readonly state: string;
  /** Ports. */
  readonly http: number;
  readonly https: number;
  readonly access: Access;
  /** What the log said, as JSON. */
  readonly said: string[];
  /** Milliseconds since 1970, and of the monotonic clock. */
  now: number;
  monotonic: number;
  /** Writes who has which scopes. */
  give(tokens: Readonly<Record<string, readonly Scope[]>>, ends?: string): Promise<void>;
  ask(path: string, asked?: Asked): Promise<Answered>;
  /** Signs in with JSON; what the browser then sends, and the word of its forms. */
  signIn(name: string, asked?: Asked): Promise<{ readonly cookie: string; readonly csrf: string }>;
}

/**
 * A server with the pages of sessions and one page to read and to write, `/api/v1/thing`, which says who asked and with
 * what.
 */
export async function desk(
  t: TestContext,
  options: Partial<AccessOptions> & { readonly proxies?: readonly string[] } = {},
): Promise<Desk> {
  const { proxies = [], ...given } = options;
  const state = await temporaryFolder();
  const said: string[] = [];
  const say = (facts: object, message: string) => void said.push(JSON.stringify([facts, message]));
  const access = new Access({
    tokens: () => readTokens(state),
    read: 'open',
    hosts: [],
    shares: new Shares(),
    clock: () => made.now,
    monotonic: () => made.monotonic,
    log: { info: say, warn: say, error: say },
    ...given,
  });
  const thing = guarded(access, {
    GET: (_request, { name, via }) => jsonAnswer(200, { name, via }),
    POST: {
      scope: 'arm',
      handle: (request, { name }) => jsonAnswer(200, { name, fields: readFields(request) }),
    },
    DELETE: { scope: 'withdraw', handle: (_request, { name }) => jsonAnswer(200, { name }) },
    maxBodyBytes: 1024,
  });
  const pages: Pages = new Map([['/api/v1/thing', thing], ...sessionPages(access)]);
  const server = await serving(t, memorySite({ '/boot.ipxe': '#!ipxe\n' }), {}, pages, {
    proxies: proxies.map(decodeIpPrefix),
    tls: { port: 0, pair },
  });
  const made: Desk = {
    state,
    http: server.port,
    https: server.tls?.bound[0]?.port ?? 0,
    access,
    said,
    now: NOW,
    monotonic: 0,
    give: (tokens, ends) =>
      writeTokens(
        state,
        Object.entries(tokens).map(([name, scopes]) => ({
          ...{ name, scopes: [...scopes], sha256: tokenDigest(tokenOf(name)), made: '2026-11-01T00:00:00Z' },
          ...(ends === undefined ? {} : { ends }),
        })),
      ),
    async ask(path, { method = 'GET', headers = {}, body, from = '127.0.0.1', tls = false } = {}) {
      const ca = pair.certificate;
      const where = { host: '127.0.0.1', path, method, headers, localAddress: from, agent: false } as const;
      const req = tls
        ? requestTls({ ...where, port: made.https, ca, servername: '' })
        : request({ ...where, port: made.http });
      req.end(body);
      const [res] = await once(req, 'response');
      let text = '';
      for await (const piece of res.setEncoding('utf8')) text += piece;
      return { status: res.statusCode, headers: res.headers, text };
    },
    async signIn(name, asked = {}) {
      const headers = { 'Content-Type': 'application/json', ...asked.headers };
      const body = JSON.stringify({ token: tokenOf(name) });
      const answer = await made.ask('/api/v1/session', { ...asked, method: 'POST', headers, body });
      const [cookie = ''] = answer.headers['set-cookie'] ?? [];
      if (answer.status !== 200) throw new Error(answer.text);
      return { cookie: cookie.split(';')[0] ?? '', csrf: JSON.parse(answer.text).csrf };
    },
  };
  return made;
}

export const bearer = (name: string) => ({ Authorization: `Bearer ${tokenOf(name)}` });
export const JSON_TYPE = { 'Content-Type': 'application/json' };
export const FORM_TYPE = { 'Content-Type': 'application/x-www-form-urlencoded' };
