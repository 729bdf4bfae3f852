import { z } from 'zod';
import type { FailureGroup } from '../../boots/boot-index.ts';
import { BOOT_OUTCOMES } from '../../boots/boot-outcome.ts';
import type { BootQuery } from '../../boots/boot-query.ts';
import { JOINS, type Receipt, ROUTES, receiptFacts, STAGES } from '../../boots/receipt.ts';
import { adviceOf } from '../../boots/words.ts';
import { REFUSAL_CODES, Refusal } from '../../errors/refusal.ts';
import { ROOT_MODES } from '../../formats/records/policy-floor.ts';
import { TRUST_LEVELS, type TrustLevel } from '../../release/trust-level.ts';
import { type ApiDesk, route } from './api-desk.ts';
import type { Route } from './route.ts';
import { ASKED_TIME, COUNT, flag, iso, LIMIT, MAC, RELEASE, TIME } from './schemas.ts';

const BOOT_ID = z.string().regex(/^[0-9a-z]{8,9}-[0-9a-f]{8}$/, 'is no id of a boot');

const OUTCOME = z.enum(BOOT_OUTCOMES);
const STAGE = z.enum(STAGES);
const TRUST = z.enum(Object.keys(TRUST_LEVELS) as [TrustLevel, ...TrustLevel[]]);

/** What is kept of one boot. All that a machine says of itself is claimed. */
export const RECEIPT = z.strictObject({
  boot: BOOT_ID,
  began: TIME,
  outcome: OUTCOME,
  stage: STAGE,
  /** Empty: it never said. */
  machine: z.string(),
  trust: TRUST.optional(),
  code: z.enum(REFUSAL_CODES).optional(),
  release: z.string().optional(),
  ended: TIME.optional(),
  quietSince: TIME.optional(),
  route: z.enum(ROUTES),
  arch: z.string().optional(),
  uuid: z.string().optional(),
  addresses: z.array(z.string()),
  loader: z.string().optional(),
  rootHash: z.string().optional(),
  root: z.enum(ROOT_MODES).optional(),
  message: z.string().optional(),
  by: z.enum(['report', 'server', 'loader']).optional(),
  once: z.string().optional(),
  shared: z.boolean().optional(),
  incomplete: z.string().optional(),
  stages: z.array(
    z.strictObject({
      stage: STAGE,
      begin: TIME,
      end: TIME.optional(),
      bytes: COUNT,
      /** That a mirror was to send. */
      byMirror: COUNT.optional(),
      outcome: z.string().optional(),
      join: z.enum(JOINS),
      what: z.string(),
    }),
  ),
  lines: z.array(z.string()),
  /** What to do about it, where it did not end well. */
  advice: z.string().optional(),
});

/** Failed boots that failed alike. */
const FAILURES = z.strictObject({
  outcome: OUTCOME,
  stage: STAGE,
  code: z.enum(REFUSAL_CODES).optional(),
  advice: z.string().optional(),
  count: COUNT,
  /** Machines, as far as they said who they are. */
  machines: COUNT,
  last: BOOT_ID,
  lastBegan: TIME,
});

const COUNTS = z.strictObject({
  total: COUNT,
  byOutcome: z.record(OUTCOME, COUNT),
  /** Of those that were to start a release and have ended: the share that early userspace says it verified; 0 to 1. */
  verified: z.number().min(0).max(1).optional(),
  failures: z.array(FAILURES),
});

/** How a boot ends that was to start a release; what was sent elsewhere, or began anew, is none. */
const STARTED = ['verified', 'served', 'refused', 'failed', 'stalled'] as const;

const SINCE = z.strictObject({ since: ASKED_TIME.optional() });

const ASKED = z.strictObject({
  machine: MAC.optional(),
  failed: flag().optional().meta({ description: 'true: refused, failed and stalled ones.' }),
  outcome: OUTCOME.optional(),
  stage: STAGE.optional(),
  code: z.enum(REFUSAL_CODES).optional(),
  release: RELEASE.optional(),
  since: ASKED_TIME.optional(),
  until: ASKED_TIME.optional(),
  before: BOOT_ID.optional().meta({ description: 'Only older ones: the last of the page before.' }),
  limit: LIMIT,
});

/** What became of boots. */
export function bootRoutes({ boots }: ApiDesk): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/boots',
      summary: 'Boots, the newest first.',
      scope: 'read',
      query: ASKED,
      answers: { 200: z.strictObject({ boots: z.array(RECEIPT), next: BOOT_ID.optional() }) },
      async handle({ query: { limit, before, ...query } }) {
        const found = await boots.find(said(query), limit, before);
        // One that has only just begun stands in no segment, and nothing can be looked for behind it.
        const last = found.findLast((receipt) => boots.index.place(receipt.boot) !== undefined)?.boot;
        const next = found.length === limit && last !== undefined ? { next: last } : {};
        return { 200: { boots: found.map(bootFacts), ...next } };
      },
    }),
    route({
      method: 'GET',
      path: '/boots/summary',
      summary: 'How many boots there were, what share of them was verified, and how the others failed.',
      scope: 'read',
      query: SINCE,
      answers: { 200: COUNTS },
      handle({ query }) {
        const { total, byOutcome, failures } = boots.count(said(query));
        const ended = STARTED.reduce((sum, outcome) => sum + byOutcome[outcome], 0);
        return {
          200: {
            ...{ total, byOutcome },
            ...(ended === 0 ? {} : { verified: byOutcome.verified / ended }),
            failures: failures.map(failureFacts),
          },
        };
      },
    }),
    route({
      method: 'GET',
      path: '/boots/{id}',
      summary: 'One boot: its stages, and what was said last.',
      scope: 'read',
      parameters: z.strictObject({ id: BOOT_ID }),
      answers: { 200: RECEIPT },
      async handle({ parameters: { id } }) {
        const receipt = await boots.get(id);
        if (!receipt) throw new Refusal('absent', `There is no boot ${id} here.`, { boot: id });
        return { 200: bootFacts(receipt) };
      },
    }),
    route({
      method: 'GET',
      path: '/refusals',
      summary: 'What boots failed by, most first, each with its last boot.',
      scope: 'read',
      query: SINCE,
      answers: { 200: z.strictObject({ refusals: z.array(FAILURES.extend({ boot: RECEIPT.optional() })) }) },
      async handle({ query }) {
        const refusals = [];
        for (const group of boots.count(said(query)).failures) {
          const receipt = await boots.get(group.last);
          refusals.push({ ...failureFacts(group), ...(receipt ? { boot: bootFacts(receipt) } : {}) });
        }
        return { 200: { refusals } };
      },
    }),
  ];
}

/** Without what was not said. */
function said(query: { readonly [Key in keyof BootQuery]: BootQuery[Key] | undefined }): BootQuery {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined));
}

export function bootFacts(receipt: Receipt): z.input<typeof RECEIPT> {
  const advice = adviceOf(receipt);
  return {
    ...(receiptFacts(receipt) as z.input<typeof RECEIPT>),
    ...(advice === undefined ? {} : { advice }),
  };
}

function failureFacts({ lastBegan, ...group }: FailureGroup): z.input<typeof FAILURES> {
  const advice = adviceOf(group);
  return { ...group, lastBegan: iso(lastBegan), ...(advice === undefined ? {} : { advice }) };
}
