import { Refusal } from '../../errors/refusal.ts';
import type { Page, PageAnswer, PageRequest } from '../../serve/http/http-types.ts';
import type { Scope } from '../../store/token-scopes.ts';
import type { Access, Caller } from './access.ts';

/** What a page does for somebody who may ask for it. */
export type Handle = (
  request: PageRequest,
  caller: Caller,
) => PageAnswer | Refusal | Promise<PageAnswer | Refusal>;

/** What a page does by method, and what each needs. */
export interface Guarded {
  /** Reading. */
  readonly GET?: Handle;
  readonly POST?: Write;
  readonly PUT?: Write;
  readonly DELETE?: Write;
  /** Largest request body, bytes; default 0: none. */
  readonly maxBodyBytes?: number;
  /** As of a `Page`. */
  readonly vital?: boolean;
}

export interface Write {
  readonly scope: Scope;
  readonly handle: Handle;
}

/** A page that answers those who may ask. Whoever may not is told why, and the page is not asked. */
export function guarded(access: Access, guards: Guarded): Page {
  const { GET, vital, maxBodyBytes } = guards;
  const methods = (['GET', 'POST', 'PUT', 'DELETE'] as const).filter(
    (method) => guards[method] !== undefined,
  );
  return {
    methods,
    ...(vital === undefined ? {} : { vital }),
    ...(maxBodyBytes === undefined ? {} : { maxBodyBytes }),
    async handle(request) {
      const { method } = request;
      const write = method === 'POST' || method === 'PUT' || method === 'DELETE' ? guards[method] : undefined;
      const handle = write?.handle ?? GET;
      if (handle === undefined) throw new RangeError(`a page without ${method} was asked by it`);
      const caller = write ? await access.mayWrite(request, write.scope) : await access.mayRead(request);
      if (caller instanceof Refusal) return caller;
      return whileAllowed(await handle(request, caller), access, request, caller);
    },
  };
}

/** A page that everybody reads who may read. */
export function readable(access: Access, handle: Handle): Page {
  return guarded(access, { GET: handle });
}

/** A page of which reading needs a token, also where it needs none of others. */
export function tokenPage(access: Access, page: Page): Page {
  return {
    ...page,
    async handle(request) {
      const caller = await access.mayRead(request, 'token');
      return caller instanceof Refusal ? caller : page.handle(request);
    },
  };
}

/** A stream of events may last for days: it ends with the token that it was given for, before its next piece. */
function whileAllowed(
  answer: PageAnswer | Refusal,
  access: Access,
  request: PageRequest,
  caller: Caller,
): PageAnswer | Refusal {
  if (answer instanceof Refusal || caller.via === 'open') return answer;
  const { body } = answer;
  if (typeof body === 'string' || body instanceof Uint8Array) return answer;
  async function* allowed() {
    for await (const piece of body as AsyncIterable<string | Uint8Array>) {
      if (!(await access.mayStay(request, caller))) return;
      yield piece;
    }
  }
  return { ...answer, body: allowed() };
}
