import { z } from 'zod';
import { ACT_KINDS, type LogEntry } from '../../formats/records/log-entry.ts';
import { readLogPage } from '../../store/log-page.ts';
import { type ApiDesk, route } from './api-desk.ts';
import type { Route } from './route.ts';
import { COUNT, iso, LIMIT, SHA256, TIME, whole } from './schemas.ts';

const ENTRY = z.strictObject({
  index: COUNT,
  time: TIME,
  /** What the clock said, where it had been set back. */
  clock: TIME.optional(),
  act: z.enum(ACT_KINDS),
  channel: z.string().optional(),
  release: z.string().optional(),
  manifest: SHA256.optional(),
  serial: COUNT.optional(),
  counter: COUNT.optional(),
  rollbackFrom: z.string().optional(),
  /** Where it came from, and who did it. */
  origin: z.string().optional(),
  seals: SHA256.optional(),
  signers: z.array(z.string()),
  file: z.strictObject({ sha256: SHA256, path: z.string() }).optional(),
  refusal: z.strictObject({ code: z.string(), message: z.string() }).optional(),
  /** False: it waits for a signature. */
  signed: z.boolean(),
});

/** What happened to the state, as its log says it. */
export function logRoutes({ state }: ApiDesk): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/log',
      summary: 'The audit trail, the newest first.',
      description:
        'Entries of the transparency log as they stand there: this verifies nothing, "bootseal log check" does.',
      scope: 'read',
      query: z.strictObject({
        limit: LIMIT,
        before: whole(0, Number.MAX_SAFE_INTEGER)
          .optional()
          .meta({ description: 'Only entries of a smaller index: the last of the page before.' }),
      }),
      answers: {
        200: z.strictObject({
          entries: z.array(ENTRY),
          /** Entries of the whole log. */
          size: COUNT,
          next: COUNT.optional(),
        }),
      },
      async handle({ query: { limit, before } }) {
        const page = state === undefined ? undefined : await readLogPage(state, limit, before);
        const { entries = [], size = 0, signed = 0 } = page ?? {};
        const last = entries.at(-1)?.index ?? 0;
        return {
          200: {
            entries: entries.map((entry) => entryFacts(entry, entry.index < signed)),
            size,
            ...(last > 0 ? { next: last } : {}),
          },
        };
      },
    }),
  ];
}

function entryFacts({ time, clock, signers, ...entry }: LogEntry, signed: boolean): z.input<typeof ENTRY> {
  return {
    ...entry,
    ...(entry.origin === undefined ? {} : { origin: withoutPaths(entry.origin) }),
    ...(entry.refusal ? { refusal: { ...entry.refusal, message: withoutPaths(entry.refusal.message) } } : {}),
    time: iso(time),
    ...(clock === undefined ? {} : { clock: iso(clock) }),
    signers: [...signers],
    signed,
  };
}

/** Folders of people's machines are no business of a client; an address keeps its path. */
function withoutPaths(text: string): string {
  return text.replace(/(?<=^|[\s("'])\/[^\s"')]+/g, (path) => path.slice(path.lastIndexOf('/') + 1) || path);
}
