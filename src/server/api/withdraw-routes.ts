import { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import { quarantinedReleases, storedReleases } from '../../store/quarantine.ts';
import { withdrawStored } from '../../store/withdraw.ts';
import { MAX_REASON, withdrawnReason } from '../../store/withdrawals.ts';
import { type ApiDesk, route } from './api-desk.ts';
import type { Route } from './route.ts';
import { RELEASE, RELEASE_PART } from './schemas.ts';
import { KEYS, STATE, WAITING, waiting } from './waiting.ts';
import { byOneself, type Writer } from './writer.ts';

const DONE = z.strictObject({
  answer: z.literal('withdrawn'),
  /** False: it was withdrawn before. */
  changed: z.boolean(),
  release: RELEASE,
  warnings: z.array(z.string()),
});

/** Releases that nobody is to boot any more. */
export function withdrawRoutes(desk: ApiDesk, writer: Writer): readonly Route[] {
  const { clock, signer } = desk;
  return [
    route({
      method: 'POST',
      path: '/releases/{name}/{version}/withdraw',
      summary: 'Takes a release out of use for good.',
      description:
        'Needs no key: where nobody signs, its entry in the log waits for a signature, and it counts at once.',
      scope: 'withdraw',
      parameters: z.strictObject({ name: RELEASE_PART, version: RELEASE_PART }),
      body: z.strictObject({
        reason: z
          .string()
          .min(1)
          .max(MAX_REASON)
          .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u, 'is not one line of printable characters')
          .meta({ description: 'For people who find it refused: one line.' }),
        now: z.boolean().default(false).meta({ description: 'Machines that run it lose their root, too.' }),
      }),
      answers: { 200: DONE, 202: WAITING },
      handle: ({ parameters: { name, version }, body: { reason, now: cutRunning }, caller }) =>
        writer.inTurn(async (state) => {
          const release = `${name}/${version}`;
          const before = await withdrawnReason(state, release);
          if (before && (before.now || !cutRunning)) return { 200: doneOf(release, false) };
          const known = [...(await storedReleases(state)), ...(await quarantinedReleases(state))];
          if (!known.includes(release))
            throw new Refusal('absent', `There is no release ${release} here.`, { release });
          const facts = { release, reason, cutRunning };
          if (signer) {
            const { changed, warnings } = await signer.withdraw(facts, caller.name);
            return { 200: doneOf(release, changed, warnings) };
          }
          const by = `by token ${caller.name}`;
          const own = await byOneself(state, (record) => withdrawStored(state, facts, clock(), by, record));
          const command = [
            ...['bootseal', 'withdraw', release, '--reason', reason, ...(cutRunning ? ['--now'] : [])],
            ...['--state', STATE, '--snapshot-key', KEYS],
          ];
          if (!own) return { 202: waiting({ release, reason, now: cutRunning }, command) };
          const { changed, channels } = own.done;
          const warnings = channels.map(
            (channel) => `${channel} still names ${release}, and offers nothing until it is moved`,
          );
          return { 200: doneOf(release, changed, warnings) };
        }),
    }),
  ];
}

function doneOf(release: string, changed: boolean, warnings: readonly string[] = []): z.input<typeof DONE> {
  return { answer: 'withdrawn', changed, release, warnings: [...warnings] };
}
