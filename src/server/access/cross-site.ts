import { Refusal } from '../../errors/refusal.ts';
import type { PageRequest } from '../../serve/http/http-types.ts';
import { mediaTypeOf, readForm } from './request-fields.ts';
import { sameSecret } from './sessions.ts';

/**
 * Undefined where a request comes from a page of this server's own; else why it does not count. A browser says so in
 * fields that no script can write: Sec-Fetch-Site, and Origin, which is compared with the Host that the same browser asked
 * for (and that `isOwnHost` has seen).
 *
 * @param origin `needed`: a browser sends it with whatever changes something; `where-said`: who sends none is no browser.
 */
export function demandSameOrigin(
  { headers, way }: PageRequest,
  origin: 'needed' | 'where-said',
): Refusal | undefined {
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin') return foreign();
  if (headers.origin === undefined) return origin === 'needed' ? foreign() : undefined;
  const own = `${way === 'tls' ? 'https' : 'http'}://${headers.host?.toLowerCase()}`;
  return headers.origin.toLowerCase() === own ? undefined : foreign();
}

/**
 * Undefined where the body of a session's request is one that a page elsewhere cannot have sent: JSON, for which its
 * browser would have asked first and been told nothing (there is no CORS here), a form that holds the session's own word, or
 * none at all, by a method that forms do not have.
 */
export function demandOwnForm(request: PageRequest, formToken: string): Refusal | undefined {
  const { method, body } = request;
  const type = mediaTypeOf(request);
  if (type === 'application/json') return undefined;
  if (body.length === 0 && (method === 'DELETE' || method === 'PUT')) return undefined;
  if (type !== 'application/x-www-form-urlencoded') return foreign();
  const form = readForm(request);
  if (form instanceof Refusal) return form;
  return sameSecret(form.get('csrf') ?? '', formToken) ? undefined : foreign();
}

function foreign(): Refusal {
  return new Refusal(
    'forbidden',
    'That was not sent by a page of this server in this session; load the page again and repeat it.',
  );
}
