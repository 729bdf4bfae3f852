import { z } from 'zod';
import { SCOPES } from '../../store/token-scopes.ts';
import { EVENT_KINDS } from '../event-hub.ts';
import type { Route } from './route.ts';
import { NOTHING } from './schemas.ts';

/*
 * What else is asked below `/api/v1`: as it happens (event-pages.ts), and who asks (session-pages.ts). Their pages are
 * written there, since they answer streams, cookies and forms, and are only described here.
 */

const ELSEWHERE = { parameters: NOTHING, query: NOTHING, handle: undefined } as const;
const FORM = 'application/x-www-form-urlencoded';

const EVENTS = z.strictObject({
  last: z.string().meta({ description: 'What to put into "after" next time.' }),
  reset: z.boolean().meta({ description: 'What came meanwhile is not known any more: look anew.' }),
  events: z.array(z.strictObject({ id: z.string(), event: z.enum(EVENT_KINDS), data: z.unknown() })),
});

const CALLER = z.strictObject({
  name: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  via: z.enum(['token', 'session', 'open']),
  csrf: z.string().optional().meta({ description: 'What a form of this session sends along.' }),
});

export const DESCRIBED_ROUTES: readonly Route[] = [
  {
    ...ELSEWHERE,
    method: 'GET',
    path: '/events',
    summary: 'What happens, as it happens.',
    description:
      'Server-sent events: "boot" is a receipt, "state" what is offered, "page" pieces of the overview, "reset" says to look anew. With "poll" one answer in JSON, at once.',
    scope: 'read',
    query: z.strictObject({
      of: z
        .string()
        .optional()
        .meta({ description: `Kinds, with commas between them: ${EVENT_KINDS.join(', ')}.` }),
      after: z.string().optional().meta({ description: 'Goes on after that event, as Last-Event-ID does.' }),
      poll: z.string().optional(),
    }),
    body: undefined,
    answers: { 200: EVENTS },
    others: { 200: 'text/event-stream' },
  },
  {
    ...ELSEWHERE,
    method: 'GET',
    path: '/session',
    summary: 'Who asks, and what they may.',
    scope: 'read',
    body: undefined,
    answers: { 200: CALLER },
  },
  {
    ...ELSEWHERE,
    method: 'POST',
    path: '/session',
    summary: 'Signs a browser in: a cookie for a token.',
    scope: 'open',
    body: z.strictObject({ token: z.string() }),
    bodyAlso: FORM,
    answers: { 200: CALLER },
    others: { 303: undefined },
  },
  {
    ...ELSEWHERE,
    method: 'DELETE',
    path: '/session',
    summary: 'Ends the session whose cookie is sent.',
    scope: 'open',
    body: undefined,
    answers: {},
    others: { 204: undefined },
  },
  {
    ...ELSEWHERE,
    method: 'POST',
    path: '/session/end',
    summary: 'The same by a form, as the pages do.',
    scope: 'open',
    body: z.strictObject({ csrf: z.string() }),
    bodyAlso: FORM,
    answers: {},
    others: { 204: undefined, 303: undefined },
  },
];
