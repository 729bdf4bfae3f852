import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import { LONGEST_ARMING } from '../../formats/records/armed-boot.ts';
import { isCommandLineWord } from '../../formats/script/cmdline.ts';
import { BootOnce } from '../../machines/boot-once.ts';
import { disarmingAct } from '../../store/armed-acts.ts';
import { ArmedBoots } from '../../store/armed-boots.ts';
import { recordsOf } from '../../store/folder-backend.ts';
import { storedReleases } from '../../store/quarantine.ts';
import { demandNotWithdrawn } from '../../store/withdrawals.ts';
import type { ArmingFacts } from '../signer.ts';
import { type ApiDesk, route } from './api-desk.ts';
import { ARMED, armedFacts, newestArming } from './machine-routes.ts';
import type { Route } from './route.ts';
import { MAC, NOTHING, RELEASE } from './schemas.ts';
import { KEYS, STATE, WAITING, waiting } from './waiting.ts';
import { byOneself, type Writer } from './writer.ts';

const MINUTE = 60_000;
const LONGEST = LONGEST_ARMING / MINUTE;

/** A word that fills a free one of a release. */
export const WORD = z
  .string()
  .regex(/^[A-Za-z0-9._:,=/@%+[\]-]+$/, 'is no word of a command line')
  .refine(isCommandLineWord, 'is no word of a command line');

const ARM = z.strictObject({
  release: RELEASE,
  words: z.array(WORD).max(16).default([]).meta({ description: 'Each fills a free word of the release.' }),
  minutes: z.int().min(1).max(LONGEST).default(240).meta({ description: 'Within which it may begin.' }),
  afterwards: z.enum(['local', 'usual']).default('local').meta({ description: 'What it boots afterwards.' }),
  loader: z.enum(['ipxe', 'grub']).default('ipxe'),
  uuid: z
    .uuid()
    .toLowerCase()
    .optional()
    .meta({ description: 'And only where the machine says that it has this one.' }),
  id: z
    .string()
    .regex(/^[0-9a-f]{16}$/, 'is no 16 hex digits')
    .optional()
    .meta({ description: 'Random, of your own: who sends the same again arms once.' }),
});

const DONE = z.strictObject({
  answer: z.literal('armed'),
  /** False: it was armed by this very request before. */
  changed: z.boolean(),
  armed: ARMED,
  warnings: z.array(z.string()),
});

const TAKEN_BACK = z.strictObject({
  answer: z.literal('not armed'),
  /** False: there was nothing to take back. */
  changed: z.boolean(),
  warnings: z.array(z.string()),
});

const OF_MACHINE = z.strictObject({ mac: MAC });

/** Boots that happen once. */
export function armRoutes(desk: ApiDesk, writer: Writer): readonly Route[] {
  const { clock, signer } = desk;
  return [
    route({
      method: 'POST',
      path: '/machines/{mac}/arm',
      summary: 'Has a machine boot a release once, by a script that is signed now and ends by itself.',
      description:
        'An earlier arming of the machine is taken back. What it boots may destroy what is on its disks.',
      scope: 'arm',
      parameters: OF_MACHINE,
      body: ARM,
      answers: { 200: DONE, 202: WAITING },
      handle: ({ parameters: { mac }, body, caller }) =>
        writer.inTurn(async (state) => {
          const { minutes, uuid, id, ...rest } = body;
          const before = await newestArming(desk, mac);
          if (id !== undefined && before?.arming.id === id)
            return {
              200: { answer: 'armed', changed: false, armed: armedFacts(before, clock()), warnings: [] },
            };
          if (!(await storedReleases(state)).includes(rest.release))
            throw new Refusal('absent', `There is no release ${rest.release} here.`, {
              release: rest.release,
            });
          await demandNotWithdrawn(state, rest.release);
          const facts: ArmingFacts = {
            ...{ mac, ...rest, lasts: minutes * MINUTE },
            ...(uuid === undefined ? {} : { uuid }),
            id: id ?? randomBytes(8).toString('hex'),
          };
          if (!signer) return { 202: waiting({ mac, ...body }, armCommand(facts, minutes)) };
          const { arming, warnings } = await signer.arm(facts, caller.name);
          const kept = { arming, number: 0, consumed: undefined, dismissed: false };
          const armed = armedFacts(kept, clock());
          return { 200: { answer: 'armed', changed: true, armed, warnings: [...warnings] } };
        }),
    }),
    route({
      method: 'DELETE',
      path: '/machines/{mac}/arm',
      summary: 'Takes an arming back, or ends what followed it: the machine boots as usual.',
      scope: 'arm',
      parameters: OF_MACHINE,
      query: NOTHING,
      answers: { 200: TAKEN_BACK, 202: WAITING },
      handle: ({ parameters: { mac }, caller }) =>
        writer.inTurn(async (state) => {
          const before = await newestArming(desk, mac);
          if (!before) return { 200: { answer: 'not armed', changed: false, warnings: [] } };
          if (signer) {
            const { changed, warnings } = await signer.disarm(mac, caller.name);
            return { 200: { answer: 'not armed', changed, warnings: [...warnings] } };
          }
          const own = await byOneself(state, async (record) => {
            // What takes something back is done first: a log that cannot be written keeps nothing armed.
            const ended = await new BootOnce(new ArmedBoots(recordsOf(state)), clock).cancel(mac);
            if (ended) await record(disarmingAct(ended.arming, `token ${caller.name}`, clock()));
            return ended !== undefined;
          });
          if (own) return { 200: { answer: 'not armed', changed: own.done, warnings: [] } };
          const command = ['bootseal', 'machines', 'disarm', mac, '--state', STATE];
          return { 202: waiting({ mac }, command) };
        }),
    }),
  ];
}

function armCommand({ mac, uuid, release, words, afterwards, loader }: ArmingFacts, minutes: number) {
  return [
    ...['bootseal', 'machines', 'arm', mac, '--release', release, '--for', `${minutes}m`],
    ...words.flatMap((word) => ['--word', word]),
    ...['--then', afterwards, '--loader', loader],
    ...(uuid === undefined ? [] : ['--uuid', uuid]),
    ...['--state', STATE, '--keys', KEYS, '--snapshot-key', KEYS],
  ];
}
