import { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import {
  ASSIGNED,
  type Assigned,
  assignedName,
  assignedText,
  planAssigned,
  writeAssigned,
} from '../../machines/assigned-file.ts';
import { assignedWords } from '../../machines/assignment.ts';
import { MACHINES } from '../../machines/machine-files.ts';
import { freeWords } from '../../scripts/free-words.ts';
import { assigningAct } from '../../store/assigning-act.ts';
import { channelNames } from '../../store/channels.ts';
import { storedReleases } from '../../store/quarantine.ts';
import { machineFilesOf } from '../../store/state-machines.ts';
import { demandNotWithdrawn } from '../../store/withdrawals.ts';
import { type ApiDesk, route } from './api-desk.ts';
import { storedManifest } from './release-routes.ts';
import type { Route } from './route.ts';
import { MAC } from './schemas.ts';
import { ANCHORS, KEYS, STATE, WAITING, waiting } from './waiting.ts';
import { byOneself, type Writer } from './writer.ts';

const OF_MACHINE = z.strictObject({ mac: MAC });

const DONE = z.strictObject({
  answer: z.literal('signed'),
  /** False: it was written so already. */
  changed: z.boolean(),
  /** In words; absent: nothing is assigned to it. */
  assigned: z.string().optional(),
  warnings: z.array(z.string()),
});

/** Who gets what. */
export function assignmentRoutes(desk: ApiDesk, writer: Writer): readonly Route[] {
  return [
    route({
      method: 'PUT',
      path: '/machines/{mac}/assignment',
      summary: 'Writes down what a machine gets, or the labels by which it is in groups.',
      description:
        'Replaces what was assigned to it here before. It is written to a file of its own; what a file of somebody else says of the machine is not changed, and refuses this. What is written counts once it is signed.',
      scope: 'assign',
      parameters: OF_MACHINE,
      body: ASSIGNED,
      answers: { 200: DONE, 202: WAITING },
      handle: ({ parameters: { mac }, body, caller }) =>
        writer.inTurn(async (state) => {
          await demandAssignable(desk, state, body);
          return assign(desk, state, mac, body, caller.name);
        }),
    }),
    route({
      method: 'DELETE',
      path: '/machines/{mac}/assignment',
      summary: 'Takes away what was assigned to a machine here.',
      scope: 'assign',
      parameters: OF_MACHINE,
      answers: { 200: DONE, 202: WAITING },
      handle: ({ parameters: { mac }, caller }) =>
        writer.inTurn((state) => assign(desk, state, mac, undefined, caller.name)),
    }),
  ];
}

async function assign(
  desk: ApiDesk,
  state: string,
  mac: string,
  assigned: Assigned | undefined,
  by: string,
): Promise<{ 200: z.input<typeof DONE> } | { 202: z.input<typeof WAITING> }> {
  const folder = machineFilesOf(state);
  const planned = await planAssigned(folder, mac, assigned);
  const file = `${MACHINES}/${assignedName(mac)}`;
  const text = assigned && assignedText(assigned);
  const request = { mac, assigned: assigned ?? null, file, text: planned.after ?? null };
  const warnings: string[] = [];
  const changed = planned.before !== planned.after;
  if (changed && desk.signer) warnings.push(...(await desk.signer.assign(mac, assigned, by)).warnings);
  else if (changed) {
    const own = await byOneself(state, async (record) => {
      const { before, after } = await planAssigned(folder, mac, assigned);
      if (before === after) return;
      await record(assigningAct(mac, text, `token ${by}`, desk.clock()));
      await writeAssigned(folder, mac, after);
    });
    if (!own) return { 202: waiting(request, APPLY, `${file} is to be written first, as the request says.`) };
  }
  const why = await desk.lookAtMachines();
  if (why !== undefined) return { 202: waiting(request, APPLY, `${why}.`) };
  return {
    200: { answer: 'signed', changed, ...(text === undefined ? {} : { assigned: text }), warnings },
  };
}

const APPLY = [
  ...['bootseal', 'machines', 'apply', '--state', STATE, '--anchors', ANCHORS],
  ...['--script-keys', KEYS, '--snapshot-key', KEYS],
];

/**
 * What could never be signed is not written: it would keep what others are assigned from being signed.
 *
 * @throws Refusal, UsageError
 */
async function demandAssignable(desk: ApiDesk, state: string, { gets }: Assigned): Promise<void> {
  if (gets?.boot !== 'release') return;
  const { channel, release } = gets;
  const names = await channelNames(state);
  if (channel !== undefined && !names.includes(channel))
    throw new Refusal('absent', `There is no channel ${channel} here.`, { channel });
  const [only, ...others] = names;
  if (channel === undefined && (only === undefined || others.length > 0) && release !== undefined)
    throw new UsageError(
      `Say whose release it is, since the state has several channels: ${names.join(', ')}.`,
    );
  if (release !== undefined) {
    if (!(await storedReleases(state)).includes(release))
      throw new Refusal('absent', `There is no release ${release} here.`, { release });
    await demandNotWithdrawn(state, release);
  }
  const words = assignedWords(gets);
  if (words.length === 0) return;
  const { channels, machines } = desk.offering();
  const of = channels.get(channel ?? machines?.entry ?? '')?.snapshot.releases ?? [];
  for (const id of release === undefined ? of.map((one) => one.release) : [release]) {
    const stored = await storedManifest(state, id);
    if (stored) freeWords(stored.manifest, words);
  }
}
