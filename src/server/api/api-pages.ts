import { isAbsolute } from 'node:path';
import type { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import { mistakeInWords, OUR_WORDS } from '../../errors/schema-words.ts';
import { UsageError } from '../../errors/usage.ts';
import { HttpAnswer } from '../../serve/http/http-answer.ts';
import { jsonAnswer } from '../../serve/http/http-pages.ts';
import type { Page, PageAnswer, PageRequest } from '../../serve/http/http-types.ts';
import type { Access, Caller } from '../access/access.ts';
import { type Guarded, guarded } from '../access/guarded.ts';
import { mediaTypeOf } from '../access/request-fields.ts';
import { API, type ApiPages, MAX_BODY, type Method, type Route } from './route.ts';

export interface ApiPagesOptions {
  readonly access: Access;
  /** The folder whose path is no business of a client; undefined: there is none. */
  readonly state: string | undefined;
}

/**
 * The pages of a table of routes. Paths with parameters share the page of what stands before the first one, which finds the
 * route; whatever begins as the API does and is none of them is a page, too, which says so.
 */
export function apiPages(routes: readonly Route[], options: ApiPagesOptions): ApiPages {
  const served = routes.filter(({ handle }) => handle !== undefined);
  const byPath = new Map<string, Route[]>();
  for (const route of served) byPath.set(route.path, [...(byPath.get(route.path) ?? []), route]);
  const pages = new Map<string, Page>();
  const patterns = new Map<string, { match: RegExp; page: Page }[]>();
  for (const [path, all] of byPath) {
    const page = pageOf(all, options);
    const brace = path.indexOf('{');
    if (brace < 0) pages.set(API + path, page);
    else {
      const prefix = `${API}${path.slice(0, brace)}*`;
      patterns.set(prefix, [...(patterns.get(prefix) ?? []), { match: matching(path), page }]);
    }
  }
  for (const [prefix, of] of patterns) pages.set(prefix, dispatcher(of));
  pages.set(`${API}/*`, { methods: METHODS, prefersJson: true, handle: () => NONE });
  return [...pages];
}

const METHODS: readonly Method[] = ['GET', 'POST', 'PUT', 'DELETE'];

const NONE = new Refusal('absent', `The API has no such address; ${API}/openapi.json lists them.`, {});

/** `/machines/{mac}/arm` → what finds it, with a group for each parameter. */
function matching(path: string): RegExp {
  const source = path
    .split('/')
    .map((segment) => (segment.startsWith('{') ? '([^/]+)' : segment.replaceAll('.', '\\.')))
    .join('/');
  return new RegExp(`^${API}${source}$`);
}

/** One page for several paths that begin alike. */
function dispatcher(all: readonly { readonly match: RegExp; readonly page: Page }[]): Page {
  const bytes = Math.max(...all.map(({ page }) => page.maxBodyBytes ?? 0));
  return {
    // Which of them the path has, only the path says.
    methods: METHODS,
    prefersJson: true,
    maxBodyBytes: bytes,
    handle(request) {
      const found = all.find(({ match }) => match.test(request.path));
      if (found === undefined) return NONE;
      const { page } = found;
      const known: readonly string[] = page.methods ?? [];
      if (!known.includes(request.method === 'HEAD' ? 'GET' : request.method)) {
        const allow = known.flatMap((each) => (each === 'GET' ? ['GET', 'HEAD'] : [each])).join(', ');
        throw new HttpAnswer(405, `This page answers ${allow} only.`, { Allow: allow });
      }
      if (request.body.length > (page.maxBodyBytes ?? 0)) {
        const message = `A body here has at most ${page.maxBodyBytes ?? 0} bytes.`;
        throw new HttpAnswer(413, message, { Connection: 'close' });
      }
      return page.handle(request);
    },
  };
}

/** The page of one path: whoever may not ask is told so before anything is read. */
function pageOf(routes: readonly Route[], { access, state }: ApiPagesOptions): Page {
  const guards: { -readonly [Key in keyof Guarded]: Guarded[Key] } = {};
  for (const route of routes) {
    const handle = (request: PageRequest, caller: Caller) => answer(route, request, caller, state);
    const { method, scope } = route;
    if (method === 'GET') guards.GET = handle;
    else if (scope === 'open') throw new RangeError(`${route.path} would be written by everybody`);
    else guards[method] = { scope, handle };
    if (route.body) guards.maxBodyBytes = MAX_BODY;
  }
  const page = guarded(access, guards);
  const open = routes.find(({ method, scope }) => method === 'GET' && scope === 'open');
  if (!open) return { ...page, prefersJson: true };
  if (routes.length > 1) throw new RangeError(`${open.path} is open and is not`);
  return { prefersJson: true, handle: (request) => answer(open, request, NOBODY, state) };
}

const NOBODY: Caller = { name: '', scopes: [], via: 'open', formToken: undefined };

async function answer(
  route: Route,
  request: PageRequest,
  caller: Caller,
  state: string | undefined,
): Promise<PageAnswer | Refusal> {
  const names = [...route.path.matchAll(/\{([a-z]+)\}/g)].map(([, name = '']) => name);
  const [, ...values] = matching(route.path).exec(request.path) ?? [];
  const named = Object.fromEntries(names.map((name, at) => [name, values[at]]));
  const parameters = read('The path', route.parameters, named);
  const query = read('The query', route.query, queryOf(request));
  const body = route.body && read('The body', route.body, bodyOf(request));
  for (const one of [parameters, query, body]) if (one instanceof Refusal) return one;
  const { handle } = route;
  if (!handle) throw new RangeError(`${route.path} is only described`);
  try {
    const { status, value } = await handle({ parameters, query, body, caller });
    return jsonAnswer(status, state === undefined ? value : withoutPath(value, state));
  } catch (error) {
    const short = (text: string) => (state === undefined ? text : shortened(text, state));
    // Whoever asks may ask in another way, or must change what is there: nothing was done.
    if (error instanceof UsageError) throw new HttpAnswer(409, short(error.message));
    if (error instanceof Refusal) return new Refusal(error.code, short(error.message), error.facts);
    throw error;
  }
}

/** Where the state lies on this machine is no business of a client; what lies where in it is. */
function shortened(text: string, state: string): string {
  // What was given as a path from where the server began says nothing about the machine, and may be a word like any other.
  if (!isAbsolute(state)) return text;
  return text.replaceAll(`${state}/`, '').replaceAll(state, 'STATE');
}

function withoutPath(value: object, state: string): object {
  const text = JSON.stringify(value);
  return text.includes(state) ? JSON.parse(shortened(text, state)) : value;
}

function read(what: string, schema: z.ZodType, value: unknown): unknown {
  if (value instanceof Refusal) return value;
  const result = schema.safeParse(value, OUR_WORDS);
  if (result.success) return result.data;
  const why = mistakeInWords(result.error).slice(0, 300);
  return new Refusal('malformed', `${what} is not understood: ${why}.`);
}

/** The fields of a query, none of them twice: two readers could take one of them each. */
function queryOf({ query }: PageRequest): Record<string, string> | Refusal {
  const fields = [...query];
  const known = new Set(fields.map(([name]) => name));
  if (known.size === fields.length) return Object.fromEntries(fields);
  return new Refusal('malformed', 'A field of the query stands twice.');
}

function bodyOf(request: PageRequest): unknown {
  const { body } = request;
  if (body.length === 0) return {};
  // Anything else a page of somebody's could have a browser send.
  if (mediaTypeOf(request) !== 'application/json')
    throw new HttpAnswer(415, 'The body of a request is JSON: Content-Type: application/json.', {
      Accept: 'application/json',
    });
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    value = JSON.parse(text);
  } catch {
    return new Refusal('malformed', 'The body of the request is not JSON.');
  }
  return value;
}

/** Two pages of one path that answer different methods, as one. */
export function bothPages(one: Page, other: Page): Page {
  const ofOne = one.methods ?? ['GET'];
  const ofOther = other.methods ?? ['GET'];
  if (ofOne.some((method: Method) => ofOther.includes(method)))
    throw new RangeError('two pages answer one method');
  return {
    ...one,
    methods: [...ofOne, ...ofOther],
    maxBodyBytes: Math.max(one.maxBodyBytes ?? 0, other.maxBodyBytes ?? 0),
    handle(request) {
      const method = request.method === 'HEAD' ? 'GET' : request.method;
      return ofOne.some((each: Method) => each === method) ? one.handle(request) : other.handle(request);
    },
  };
}
