import type { IncomingHttpHeaders } from 'node:http';
import { holdsToken } from '../asked.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Exchange } from './http-exchange.ts';
import { hostFault } from './request-host.ts';

/**
 * Stops what is no request for a name: unsafe targets, bodies where none belongs, and expectations that nobody meets.
 *
 * @throws HttpAnswer 400, 413, 417; Refusal of the target.
 */
export function demandRequest({ req, target, method }: Exchange): void {
  const fault = hostFault(req.rawHeaders, req.httpVersion !== '1.0' && req.httpVersion !== '0.9');
  if (fault !== undefined) throw new HttpAnswer(400, fault, { Connection: 'close' });
  if (typeof target !== 'string') throw target;
  const { expect } = req.headers;
  // RFC 9110 §10.1.1: of HTTP/1.0 it is ignored.
  if (expect !== undefined && req.httpVersion !== '1.0' && !/^100-continue$/i.test(expect))
    throw new HttpAnswer(417, 'Nothing but "100-continue" can be expected here.', { Connection: 'close' });
  // A path is said again in refusals, which are in the log; a query is not.
  if (holdsToken(target)) {
    const message =
      'A token has no place in a path; send it as "Authorization: Bearer TOKEN", and revoke this one.';
    throw new HttpAnswer(400, message, { Connection: 'close' });
  }
  if ((method === 'GET' || method === 'HEAD') && hasBody(req.headers)) {
    // RFC 9110 §9.3.1: a body on GET has no meaning and is how requests are smuggled past proxies.
    throw new HttpAnswer(413, `A ${method} request has no body.`, { Connection: 'close' });
  }
}

/** True where a request announces a body of at least one byte. */
function hasBody(headers: IncomingHttpHeaders): boolean {
  const length = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}
