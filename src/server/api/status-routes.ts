import { z } from 'zod';
import { REFUSAL_CODES, Refusal } from '../../errors/refusal.ts';
import { TRUST_LEVELS, type TrustLevel } from '../../release/trust-level.ts';
import { whoVerifies } from '../../release/who-verifies.ts';
import { STATUS_KINDS } from '../../trust/endings.ts';
import { forecast } from '../forecast.ts';
import { type ApiDesk, route } from './api-desk.ts';
import type { Route } from './route.ts';
import { COUNT, iso, REFUSED, RELEASE, SHA256, TIME } from './schemas.ts';

const STATUS = z.strictObject({
  /** Of this Bootseal. */
  version: z.string(),
  /** Of Node, which runs it. */
  node: z.string(),
  began: TIME,
  now: TIME,
  /** Whether machines may be sent here. */
  ready: z.boolean(),
  /** Why not. */
  refusal: REFUSED.optional(),
  /** What an operator should know, though machines boot. */
  warnings: z.array(z.string()),
  /** The release that machines boot by default. */
  release: RELEASE,
  /** False: nobody vouches for it. */
  anchored: z.boolean(),
  /** Whether a state is served, and not a tree. */
  state: z.boolean(),
  /** Whether there is somebody who signs. */
  signer: z.boolean(),
  boots: z.strictObject({
    running: COUNT,
    /** That no line was kept of. */
    lost: COUNT,
    /** Why receipts are not written. */
    fault: z.string().optional(),
  }),
});

const ENTRY = z.looseObject({
  anchored: z.boolean(),
  manifestSha256: SHA256,
  release: RELEASE,
  issued: z.string(),
  bestBefore: z.string(),
  refusal: z.looseObject({ code: z.enum(REFUSAL_CODES), message: z.string() }).optional(),
  whoVerifies: z.array(z.looseObject({ what: z.string(), by: z.string() })),
});

const LOADER = z.strictObject({
  name: z.string(),
  size: COUNT,
  sha256: SHA256,
  /** Whether the configuration demands this very digest. */
  demanded: z.boolean(),
  kind: z.string().optional(),
  firmware: z.string().optional(),
  arch: z.string().optional(),
  version: z.string().optional(),
  verifies: z.boolean().optional(),
  verification: z.string().optional(),
  trusts: z.array(z.string()).optional(),
  ours: z.boolean().optional(),
  warnings: z.array(z.string()).optional(),
});

const TRUSTED = z.strictObject({
  at: TIME,
  remote: z.string().optional(),
  asked: z.string().optional(),
  trust: z.enum(Object.keys(TRUST_LEVELS) as [TrustLevel, ...TrustLevel[]]),
  level: z.string(),
});

const FORECAST = z.strictObject({
  kind: z.enum(STATUS_KINDS),
  name: z.string(),
  id: z.string(),
  begins: TIME,
  /** Undefined: never. */
  ends: TIME.optional(),
  daysLeft: z.int().optional(),
  usedBy: z.array(z.string()),
  /** What stops that day, for whom, and what to do before. */
  effect: z.string(),
  due: z.boolean(),
});

/** Boots that are told of by how they began. */
const MOST_TRUST = 256;

/**
 * What this server is and has.
 *
 * @param version of this Bootseal.
 */
export function statusRoutes(desk: ApiDesk, version: string): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/status',
      summary: 'Whether machines boot, and what an operator should know.',
      scope: 'read',
      answers: { 200: STATUS },
      handle() {
        const { offering, boots, began, clock, state, signer } = desk;
        const { release } = offering().entry;
        const found = desk.readiness();
        const refused = found instanceof Refusal ? found : undefined;
        return {
          200: {
            ...{ version, node: process.version, began: iso(began), now: iso(clock()) },
            ready: refused === undefined,
            ...(refused ? { refusal: { code: refused.code, message: refused.message } } : {}),
            warnings: found instanceof Refusal ? [] : [...found],
            release: release.release,
            anchored: release.anchored,
            state: state !== undefined,
            signer: signer !== undefined,
            boots: {
              running: boots.count({ outcome: 'running' }).total,
              lost: boots.lost,
              ...(boots.fault === undefined ? {} : { fault: boots.fault }),
            },
          },
        };
      },
    }),
    route({
      method: 'GET',
      path: '/release',
      summary: 'The release that machines boot by default.',
      scope: 'read',
      answers: { 200: ENTRY },
      handle() {
        const { entry } = desk.offering();
        const { manifest, manifestSha256, anchored } = entry.release;
        const { issued, bestBefore, ...rest } = manifest;
        return {
          200: {
            anchored,
            ...(entry.refusal ? { refusal: entry.refusal.toJSON() } : {}),
            manifestSha256,
            ...rest,
            issued: seconds(issued),
            bestBefore: seconds(bestBefore),
            whoVerifies: whoVerifies(manifest).map((thing) => ({ ...thing })),
          },
        };
      },
    }),
    route({
      method: 'GET',
      path: '/loaders',
      summary: 'The loaders that are offered, what each can verify, and what it was pinned to.',
      scope: 'read',
      answers: { 200: z.strictObject({ loaders: z.array(LOADER) }) },
      handle() {
        const loaders = [...desk.loaders.values()].map(({ name, size, sha256, demanded, report }) => {
          const { image, verifies, verification, trusts, ours, warnings } = report ?? {};
          return {
            ...{ name, size, sha256, demanded },
            ...{ kind: image?.kind, firmware: image?.firmware, arch: image?.arch, version: image?.version },
            ...{ verifies, verification, ours },
            ...(trusts ? { trusts: [...trusts] } : {}),
            ...(warnings ? { warnings: [...warnings] } : {}),
          };
        });
        return { 200: { loaders } };
      },
    }),
    route({
      method: 'GET',
      path: '/trust',
      summary: 'By what the last boots were begun, and how far that can be trusted.',
      scope: 'read',
      answers: { 200: z.strictObject({ boots: z.array(TRUSTED) }) },
      async handle() {
        const receipts = await desk.boots.find({}, MOST_TRUST);
        const boots = receipts.flatMap(({ began, addresses, trust, stages }) =>
          trust === undefined
            ? []
            : [
                {
                  at: iso(began),
                  remote: addresses.at(-1),
                  asked: stages.find(({ stage }) => stage === 'script' || stage === 'kernel')?.what,
                  trust,
                  level: TRUST_LEVELS[trust],
                },
              ],
        );
        return { 200: { boots } };
      },
    }),
    route({
      method: 'GET',
      path: '/forecast',
      summary: 'What ends when, the first to end first: what stops then, and what to do before.',
      scope: 'read',
      answers: { 200: z.strictObject({ forecast: z.array(FORECAST) }) },
      handle() {
        const { offering, loaders, clock, certificate } = desk;
        const items = forecast({ offering: offering(), loaders, tls: certificate() }, clock());
        return {
          200: {
            forecast: items.map(({ begins, ends, usedBy, ...item }) => ({
              ...item,
              begins: iso(begins),
              ...(ends === undefined ? {} : { ends: iso(ends) }),
              usedBy: [...usedBy],
            })),
          },
        };
      },
    }),
  ];
}

/** As manifests write it. */
function seconds(time: number): string {
  return iso(time).replace(/\.000Z$/, 'Z');
}
