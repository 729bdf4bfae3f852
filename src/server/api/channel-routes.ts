import { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import type { Snapshot } from '../../formats/records/snapshot.ts';
import { channelNames, readChannel, recentSnapshots } from '../../store/channels.ts';
import { type ApiDesk, route } from './api-desk.ts';
import type { Route } from './route.ts';
import { CHANNEL, COUNT, iso, LIMIT, REFUSED, RELEASE, SHA256, TIME, whole } from './schemas.ts';

export const SNAPSHOT = z.strictObject({
  /** Grows with each. */
  counter: COUNT,
  issued: TIME,
  expires: TIME,
  /** SHA-256 of the batch of scripts that machines get by name. */
  scripts: SHA256.optional(),
  releases: z.array(
    z.strictObject({
      arch: z.string(),
      release: RELEASE,
      serial: COUNT,
      manifest: SHA256,
      bestBefore: TIME,
      rollbackFrom: RELEASE.optional(),
    }),
  ),
});

const LISTED = z.strictObject({
  channel: CHANNEL,
  /** Whose release machines boot by default. */
  entry: z.boolean(),
  /** Undefined where it cannot be understood. */
  snapshot: SNAPSHOT.optional(),
  /** Whether this server has verified this very snapshot and goes by it. */
  followed: z.boolean(),
  /** Mirrors and auditors refuse it; machines boot on. */
  ended: z.boolean(),
  refusal: REFUSED.optional(),
});

/** What channels name. */
export function channelRoutes(desk: ApiDesk): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/channels',
      summary: 'Every channel, and what it names.',
      scope: 'read',
      answers: { 200: z.strictObject({ channels: z.array(LISTED) }) },
      async handle() {
        const channels = [];
        for (const name of desk.state === undefined ? [] : await channelNames(desk.state))
          channels.push(await listed(desk, desk.state ?? '', name));
        return { 200: { channels } };
      },
    }),
    route({
      method: 'GET',
      path: '/channels/{name}',
      summary: 'One channel and its history, the newest first.',
      scope: 'read',
      parameters: z.strictObject({ name: CHANNEL }),
      query: z.strictObject({
        limit: LIMIT,
        before: whole(1, Number.MAX_SAFE_INTEGER)
          .optional()
          .meta({ description: 'Only snapshots with a smaller counter: the last of the page before.' }),
      }),
      answers: {
        200: LISTED.extend({ history: z.array(SNAPSHOT), next: COUNT.optional() }),
      },
      async handle({ parameters: { name }, query: { limit, before } }) {
        const state = await demandChannel(desk, name);
        const snapshots = await recentSnapshots(state, name, limit + 1, before);
        const history = snapshots.slice(0, limit).map(({ snapshot }) => snapshotFacts(snapshot));
        const last = history.at(-1)?.counter;
        const next = snapshots.length > limit && last !== undefined ? { next: last } : {};
        return { 200: { ...(await listed(desk, state, name)), history, ...next } };
      },
    }),
  ];
}

/** @returns the state. @throws Refusal `absent` */
export async function demandChannel({ state }: ApiDesk, name: string): Promise<string> {
  if (state !== undefined && (await channelNames(state)).includes(name)) return state;
  throw new Refusal('absent', `There is no channel ${name} here.`, { channel: name });
}

async function listed(
  { offering, clock }: ApiDesk,
  state: string,
  channel: string,
): Promise<z.input<typeof LISTED>> {
  const { machines, channels } = offering();
  const entry = machines?.entry === channel;
  try {
    const snapshot = (await readChannel(state, channel))?.snapshot;
    if (!snapshot) return { channel, entry, followed: false, ended: false };
    return {
      ...{ channel, entry },
      snapshot: snapshotFacts(snapshot),
      followed: channels.get(channel)?.snapshot.counter === snapshot.counter,
      ended: clock() > snapshot.expires,
    };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const refusal = { code: error.code, message: error.message };
    return { channel, entry, followed: false, ended: false, refusal };
  }
}

export function snapshotFacts(snapshot: Snapshot): z.input<typeof SNAPSHOT> {
  const { counter, issued, expires, scripts, releases } = snapshot;
  return {
    ...{ counter, issued: iso(issued), expires: iso(expires) },
    ...(scripts === undefined ? {} : { scripts }),
    releases: releases.map(({ bestBefore, rollbackFrom, ...one }) => ({
      ...one,
      bestBefore: iso(bestBefore),
      ...(rollbackFrom === undefined ? {} : { rollbackFrom }),
    })),
  };
}
