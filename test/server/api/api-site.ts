import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { addToken } from '../../../src/operations/tokens.ts';
import type { Log } from '../../../src/serve/event-log.ts';
import { type ServeOptions, type Serving, serve } from '../../../src/server/serve.ts';
import { SCOPES, type Scope } from '../../../src/store/token-scopes.ts';
import { type KeyholderSite, keyholderSite } from '../../keyholder/sites.ts';

export const MAC = '52:54:00:00:00:0a';
export const OTHER_MAC = '52:54:00:00:00:0b';

export const RULES = `
[[machine]]
name = "reader-1"
mac = "${MAC}"
labels = "readers"

[[group]]
name = "readers"
labels = "readers"
gets = { channel = "stable" }
`;

/** A state with two channels, a machine that somebody wrote down, and a token for each scope; a real clock. */
export interface ApiSite extends KeyholderSite {
  /** The token that has this scope and no other. */
  readonly tokens: Readonly<Record<Scope, string>>;
}

export async function apiSite(): Promise<ApiSite> {
  const site = await keyholderSite();
  const { state, keys } = site;
  await mkdir(join(state, 'machines'));
  await writeFile(join(state, 'machines', '10-room.toml'), RULES);
  const tokens: Partial<Record<Scope, string>> = {};
  for (const scope of SCOPES) {
    const given = { state, name: `only-${scope}`, scopes: [scope], now: Date.now(), snapshotKey: keys };
    tokens[scope] = (await addToken(given)).secret;
  }
  return { ...site, tokens: tokens as Record<Scope, string> };
}

/** A server of such a state, whose entry is `stable`. */
export async function serving(
  t: { after(end: () => Promise<void>): void },
  { anchors }: Pick<ApiSite, 'anchors'>,
  state: string,
  more: Partial<ServeOptions> = {},
): Promise<Serving> {
  const given = { state, anchors, channel: 'stable', httpPort: 0, tftpPort: false, nbdPort: false } as const;
  const server = await serve({ ...given, ...more });
  t.after(() => server.close(0));
  return server;
}

export const SILENT: Log = { info: () => {}, warn: () => {}, error: () => {} };

export interface Told {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: an answer is looked into as whoever asked would.
  readonly value: any;
}

/** Asks the API, and reads what it answers as JSON. */
export async function ask(
  server: Serving,
  method: string,
  path: string,
  asked: {
    readonly token?: string | undefined;
    readonly body?: unknown;
    readonly headers?: Record<string, string>;
  } = {},
): Promise<Told> {
  const { token, body, headers = {} } = asked;
  const answer = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  return {
    status: answer.status,
    headers: answer.headers,
    value: text.startsWith('{') ? JSON.parse(text) : text,
  };
}
