import { z } from 'zod';
import { BOOT_OUTCOMES } from '../../boots/boot-outcome.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { claimedText } from '../../formats/net/machine-claims.ts';
import { WAYS_CONSUMED } from '../../formats/records/armed-boot.ts';
import { ASSIGNMENT } from '../../machines/assignment.ts';
import type { Machine } from '../../machines/booter.ts';
import { ruleText } from '../../machines/rule-text.ts';
import { ArmedBoots, type StoredArming } from '../../store/armed-boots.ts';
import { recordsOf } from '../../store/folder-backend.ts';
import { type Explained, explainMachine, type ListedMachine, listMachines } from '../written-machines.ts';
import { type ApiDesk, route } from './api-desk.ts';
import { bootFacts, RECEIPT } from './boot-routes.ts';
import { nextOf } from './release-routes.ts';
import type { Route } from './route.ts';
import { COUNT, iso, LIMIT, MAC, RELEASE, SHA256, TIME } from './schemas.ts';

/** An arming, and what has become of it. */
export const ARMED = z.strictObject({
  id: z.string(),
  mac: MAC,
  uuid: z.string().optional(),
  release: RELEASE,
  manifest: SHA256,
  script: SHA256,
  loader: z.enum(['ipxe', 'grub']),
  words: z.array(z.string()),
  armed: TIME,
  /** Until when it may begin. */
  ends: TIME,
  by: z.string(),
  /** What it boots afterwards. */
  afterwards: z.enum(['local', 'usual']),
  /** What consumes it: a report of early userspace, or that its files have left. */
  proof: z.enum(['report', 'files']),
  state: z.enum(['armed', 'ended', 'consumed']),
  end: z.strictObject({ how: z.enum(WAYS_CONSUMED), time: TIME, address: z.string().optional() }).optional(),
  /** Somebody ended what followed: it boots as usual. */
  dismissed: z.boolean(),
});

const LAST = z.strictObject({ boot: z.string(), began: TIME, outcome: z.enum(BOOT_OUTCOMES) });

const LISTED = z.strictObject({
  /** As it is written down; absent: it was only seen. */
  name: z.string().optional(),
  macs: z.array(MAC),
  uuid: z.string().optional(),
  /** In words. */
  gets: z.string().optional(),
  by: z.string().optional(),
  armed: z.boolean(),
  last: LAST.optional(),
});

const EXPLAINED = z.strictObject({
  known: z.string().optional(),
  foundBy: z.enum(['mac', 'uuid', 'serial']).optional(),
  gets: ASSIGNMENT,
  /** In words. */
  text: z.string(),
  by: z.string(),
  script: z.enum(['own', 'signed', 'none']),
  /** How many machines may boot that script; absent: any. */
  machines: COUNT.optional(),
  passedOver: z.array(z.strictObject({ group: z.string(), why: z.string() })),
});

/** What a machine says of itself beside its address. */
const CLAIMS = z.strictObject({
  loader: z.enum(['ipxe', 'grub']).default('ipxe'),
  uuid: z.uuid().optional(),
  arch: z.string().max(64).optional(),
  firmware: z.enum(['bios', 'efi']).optional(),
  serial: claim(),
  asset: claim(),
  manufacturer: claim(),
  product: claim(),
});

function claim() {
  return z
    .string()
    .refine((text) => claimedText(text) !== undefined, 'is not 1 to 64 characters of ASCII')
    .optional();
}

/** Boots of one machine that are shown with it. */
const LAST_BOOTS = 10;

/** Who is written down or was seen, and what it gets. */
export function machineRoutes(desk: ApiDesk): readonly Route[] {
  let reading: Promise<WrittenMachines> | undefined;
  return [
    route({
      method: 'GET',
      path: '/machines',
      summary: 'Machines that are written down, and those that were seen, by name or address.',
      scope: 'read',
      query: z.strictObject({
        limit: LIMIT,
        after: z.string().max(100).optional().meta({ description: 'Only those behind it.' }),
      }),
      answers: {
        200: z.strictObject({
          machines: z.array(LISTED),
          /** Whether what is written is signed, and counts. */
          signed: z.boolean(),
          /** Why the files of machines are not read: what was signed before counts. */
          fault: z.string().optional(),
          next: z.string().optional(),
        }),
      },
      async handle({ query: { limit, after = '' } }) {
        // However many ask at once, the files are read once for them: a large site has megabytes of them.
        reading ??= writtenMachines(desk).finally(() => {
          reading = undefined;
        });
        const { written, signed, fault } = await reading;
        const byKey = new Map<string, ListedMachine | undefined>();
        const known = new Set(written.flatMap(({ macs }) => macs));
        for (const machine of written) byKey.set(machine.name, machine);
        for (const { machine } of desk.boots.index.machines())
          if (!known.has(machine)) byKey.set(machine, undefined);
        const keys = [...byKey.keys()].filter((key) => key > after).sort();
        const machines = [];
        for (const key of keys.slice(0, limit)) machines.push(await listed(desk, key, byKey.get(key)));
        return {
          200: { machines, signed, ...(fault === undefined ? {} : { fault }), ...nextOf(keys, limit) },
        };
      },
    }),
    route({
      method: 'GET',
      path: '/machines/{mac}',
      summary: 'What one machine gets and why, what it is armed with, and its last boots.',
      scope: 'read',
      parameters: z.strictObject({ mac: MAC }),
      query: CLAIMS,
      answers: {
        200: z.strictObject({
          mac: MAC,
          /** By the files as they are now. */
          written: EXPLAINED.optional(),
          /** Why they cannot be read. */
          fault: z.string().optional(),
          /** By what was signed last: this counts. */
          signed: EXPLAINED.optional(),
          /** Whether the two differ. */
          differs: z.boolean(),
          armed: ARMED.optional(),
          boots: z.array(RECEIPT),
        }),
      },
      async handle({ parameters: { mac }, query }) {
        const claims = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined));
        const boots = (await desk.boots.find({ machine: mac }, LAST_BOOTS)).map(bootFacts);
        if (desk.state === undefined) return { 200: { mac, differs: false, boots } };
        const machine = { ...claims, mac } as Machine;
        const { written, fault, signed, differs, armed } = await explainMachine(desk.state, machine);
        return {
          200: {
            mac,
            ...(written ? { written: explainedFacts(written) } : {}),
            ...(fault === undefined ? {} : { fault }),
            ...(signed ? { signed: explainedFacts(signed) } : {}),
            differs,
            ...(armed ? { armed: armedFacts(armed, desk.clock()) } : {}),
            boots,
          },
        };
      },
    }),
  ];
}

interface WrittenMachines {
  readonly written: readonly ListedMachine[];
  readonly signed: boolean;
  readonly fault: string | undefined;
}

async function writtenMachines({ state }: ApiDesk): Promise<WrittenMachines> {
  if (state === undefined) return { written: [], signed: true, fault: undefined };
  try {
    const { machines, signed, written } = await listMachines(state);
    return { written: machines, signed: signed || !written, fault: undefined };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { written: [], signed: false, fault: error.message };
  }
}

async function listed(
  { state, boots }: ApiDesk,
  key: string,
  written: ListedMachine | undefined,
): Promise<z.input<typeof LISTED>> {
  const macs = written ? [...written.macs] : [key];
  const [last] = (await Promise.all(macs.map((machine) => boots.find({ machine }, 1))))
    .flat()
    .sort((one, other) => other.began - one.began);
  return {
    ...(written ? { name: written.name, gets: written.gets, by: written.by } : {}),
    macs,
    ...(written?.uuid === undefined ? {} : { uuid: written.uuid }),
    armed: state !== undefined && (await isArmed(state, macs)),
    ...(last ? { last: { boot: last.boot, began: iso(last.began), outcome: last.outcome } } : {}),
  };
}

async function isArmed(state: string, macs: readonly string[]): Promise<boolean> {
  const kept = new ArmedBoots(recordsOf(state));
  for (const mac of macs) {
    const newest = await kept.newest(mac);
    if (newest && !newest.consumed) return true;
  }
  return false;
}

function explainedFacts({ match, gets: text, script }: Explained): z.input<typeof EXPLAINED> {
  const { known, by, gets, passedOver } = match;
  const planned = script === undefined || script === 'own' ? undefined : script;
  return {
    ...(known ? { known: known.name } : {}),
    ...(by ? { foundBy: by } : {}),
    gets,
    text,
    by: ruleText(match),
    script: planned ? 'signed' : script === 'own' && gets.boot !== 'refuse' ? 'own' : 'none',
    ...(planned?.machines ? { machines: planned.machines.length } : {}),
    passedOver: passedOver.map((one) => ({ ...one })),
  };
}

/** @param now milliseconds since 1970. */
export function armedFacts(
  { arming, consumed, dismissed }: StoredArming,
  now: number,
): z.input<typeof ARMED> {
  const { armed, ends, leaves, afterwards, words, uuid, ...rest } = arming;
  return {
    ...rest,
    ...(uuid === undefined ? {} : { uuid }),
    words: [...words],
    armed: iso(armed),
    ends: iso(ends),
    afterwards,
    proof: leaves ? 'files' : 'report',
    state: consumed ? 'consumed' : now >= ends ? 'ended' : 'armed',
    ...(consumed
      ? {
          end: {
            how: consumed.how,
            time: iso(consumed.time),
            ...(consumed.address === undefined ? {} : { address: consumed.address }),
          },
        }
      : {}),
    dismissed,
  };
}

/** What is armed of a machine; undefined: it never was. @throws Refusal where a tree is served. */
export async function newestArming({ state }: ApiDesk, mac: string): Promise<StoredArming | undefined> {
  if (state === undefined)
    throw new Refusal('absent', 'This server serves a tree without a state: no machine is armed here.');
  return new ArmedBoots(recordsOf(state)).newest(mac);
}
