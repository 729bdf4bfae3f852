import { Refusal } from '../../errors/refusal.ts';
import { jsonAnswer } from '../../serve/http/http-pages.ts';
import type { Page, PageAnswer, PageRequest } from '../../serve/http/http-types.ts';
import { readAssets } from '../../web/assets.ts';
import { PAGE_POLICY } from '../../web/frame.ts';
import { renderSignIn } from '../../web/sign-in-page.ts';
import type { Access, Caller } from './access.ts';
import { readable } from './guarded.ts';
import { mediaTypeOf, readFields } from './request-fields.ts';
import { cookieOf } from './sessions.ts';

/** Where a browser shows its token once. */
export const SIGN_IN = '/sign-in';

/** Bytes of a request that holds a token. */
const MAX_BODY = 1024;

/**
 * How browsers sign in and out:
 *
 *     GET    /api/v1/session       who asks: {"name":"ops","scopes":["read","arm"],"via":"session","csrf":"…"}
 *     POST   /api/v1/session       {"token":"bst_…"}, or the same as a form: a cookie, and the answer of GET, or 303 to /
 *     DELETE /api/v1/session       the session ends: 204
 *     POST   /api/v1/session/end   the same for a form (csrf=…): 303 to /sign-in
 *     GET    /sign-in              the form
 */
export function sessionPages(access: Access): readonly (readonly [string, Page])[] {
  const who = readable(access, (_request, caller) => jsonAnswer(200, callerFacts(caller)));
  return [
    [
      '/api/v1/session',
      {
        methods: ['GET', 'POST', 'DELETE'],
        maxBodyBytes: MAX_BODY,
        handle(request) {
          if (request.method === 'POST') return signIn(access, request);
          return request.method === 'DELETE' ? signOut(access, request) : who.handle(request);
        },
      },
    ],
    [
      '/api/v1/session/end',
      { methods: ['POST'], maxBodyBytes: MAX_BODY, handle: (request) => signOut(access, request) },
    ],
    [SIGN_IN, { handle: (request) => signInPage(request) }],
  ];
}

async function signIn(access: Access, request: PageRequest): Promise<PageAnswer | Refusal> {
  const token = readToken(request);
  if (token instanceof Refusal) return token;
  const signed = await access.signIn(request, token);
  if (signed instanceof Refusal) return signed;
  const cookie = { 'Set-Cookie': cookieOf(signed.id, request.way) };
  if (isForm(request)) return seeOther('/', cookie);
  const answer = jsonAnswer(200, callerFacts(signed.caller));
  return { ...answer, headers: { ...answer.headers, ...cookie } };
}

async function signOut(access: Access, request: PageRequest): Promise<PageAnswer | Refusal> {
  const refusal = await access.signOut(request);
  if (refusal !== undefined) return refusal;
  const cookie = { 'Set-Cookie': cookieOf('', request.way) };
  return isForm(request) ? seeOther(SIGN_IN, cookie) : { status: 204, headers: cookie, body: '' };
}

function signInPage({ way }: PageRequest): PageAnswer {
  const headers = { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': PAGE_POLICY };
  const { paths: assets } = readAssets();
  const facts = { assets, action: '/api/v1/session', safe: way !== 'plain' };
  return { status: 200, headers, body: renderSignIn(facts) };
}

/** The one field of a request that signs in. What it holds is said in no answer. */
function readToken(request: PageRequest): string | Refusal {
  const fields = readFields(request);
  if (fields instanceof Refusal) return fields;
  if (typeof fields === 'object' && fields !== null && 'token' in fields) {
    const { token, ...rest } = fields as Record<string, unknown>;
    if (typeof token === 'string' && Object.keys(rest).length === 0) return token.trim();
  }
  return new Refusal('malformed', 'To sign in, send {"token":"…"} and nothing else.');
}

function callerFacts({ name, scopes, via, formToken }: Caller): object {
  return { name, scopes, via, csrf: formToken };
}

function isForm(request: PageRequest): boolean {
  return mediaTypeOf(request) === 'application/x-www-form-urlencoded';
}

function seeOther(location: string, headers: Readonly<Record<string, string>>): PageAnswer {
  return { status: 303, headers: { Location: location, ...headers }, body: '' };
}
