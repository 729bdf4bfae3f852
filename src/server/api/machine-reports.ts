import { z } from 'zod';
import { API, type Route } from './route.ts';
import { MAC, NOTHING } from './schemas.ts';

/*
 * What machines themselves say: their pages are written where reports are read (boot-reports.ts), and only described here.
 * They have no token, and whatever they say is claimed.
 */

const ONCE = z.string().regex(/^[0-9a-f]{16}$/);
const NONCE = z.string().regex(/^[0-9a-f]{32}$/);
const OPEN = { scope: 'open', parameters: NOTHING, handle: undefined } as const;

export const MACHINE_REPORTS: readonly Route[] = [
  {
    ...OPEN,
    method: 'GET',
    path: '/boots/nonce',
    summary: 'A number that is good for one report of one machine.',
    query: z.strictObject({ mac: MAC, once: ONCE.optional() }),
    body: undefined,
    answers: { 200: z.strictObject({ nonce: NONCE }) },
  },
  {
    ...OPEN,
    method: 'POST',
    path: '/boots',
    summary: 'What early userspace says of its boot.',
    description: `Of one way to be written only; docs/boot-once.md shows it. 409: the nonce is not good for this report, and another of ${API}/boots/nonce may be.`,
    query: NOTHING,
    body: z.looseObject({ mac: MAC, nonce: NONCE, once: ONCE.optional(), outcome: z.string() }),
    answers: {
      200: z.strictObject({ answer: z.enum(['consumed', 'noted']) }),
      409: z.strictObject({ answer: z.literal('refused'), message: z.string() }),
    },
  },
];
