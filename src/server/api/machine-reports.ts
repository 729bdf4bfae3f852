import { z } from 'zod';
import { REFUSAL_CODES } from '../../errors/refusal.ts';
import { ROOT_MODES } from '../../formats/records/policy-floor.ts';
import { API, type Route } from './route.ts';
import { MAC, NOTHING, RELEASE } from './schemas.ts';

/*
 * What machines themselves say: their pages are written where reports are read (boot-reports.ts), and only described here.
 * They have no token, and whatever they say is claimed.
 */

const ONCE = z.string().regex(/^[0-9a-f]{16}$/);
const NONCE = z.string().regex(/^[0-9a-f]{32}$/);
const OPEN = { scope: 'open', parameters: NOTHING, handle: undefined } as const;

const VERIFIED = z.strictObject({
  mac: MAC,
  nonce: NONCE,
  once: ONCE.optional(),
  outcome: z.literal('verified'),
  release: RELEASE,
  root: z.enum(ROOT_MODES),
});

const REFUSED = z.strictObject({
  mac: MAC,
  nonce: NONCE,
  once: ONCE.optional(),
  outcome: z.literal('refused'),
  code: z.enum(REFUSAL_CODES),
  message: z.string().min(1).max(512),
  release: RELEASE.optional(),
  root: z.enum(ROOT_MODES).optional(),
  lines: z.array(z.string().max(128)).max(20),
});

const NOTED = z.strictObject({ answer: z.literal('noted') });

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
    description: `Of one way to be written only: no blanks, the keys in this order. 409: the nonce is not good for this report, and another of ${API}/boots/nonce may be.`,
    query: NOTHING,
    body: z.union([VERIFIED, REFUSED]),
    answers: {
      200: z.strictObject({ answer: z.enum(['consumed', 'noted']) }),
      409: z.strictObject({ answer: z.literal('refused'), message: z.string() }),
    },
  },
  {
    ...OPEN,
    method: 'GET',
    path: '/boots/gave-up',
    summary: 'At which step the script of a loader gave up.',
    query: z.strictObject({
      mac: MAC,
      step: z
        .string()
        .regex(/^([0-9a-f]{2})+$/)
        .meta({ description: 'Hex digits of a text.' }),
      errno: z
        .string()
        .regex(/^([0-9a-f]{2})*$/)
        .meta({ description: 'Hex digits of a text.' }),
    }),
    body: undefined,
    answers: { 200: NOTED },
  },
];
