import { z } from 'zod';
import { Refusal } from '../../errors/refusal.ts';
import { namesRelease } from '../../formats/records/snapshot.ts';
import type { ShellWord } from '../../formats/script/shell-line.ts';
import { readChannel } from '../../store/channels.ts';
import { storedReleases } from '../../store/quarantine.ts';
import { demandNotWithdrawn } from '../../store/withdrawals.ts';
import { type ApiDesk, route } from './api-desk.ts';
import { demandChannel, SNAPSHOT, snapshotFacts } from './channel-routes.ts';
import type { Route } from './route.ts';
import { CHANNEL, NOTHING, RELEASE } from './schemas.ts';
import { ANCHORS, KEYS, STATE, WAITING, waiting } from './waiting.ts';
import type { Writer } from './writer.ts';

const OF_CHANNEL = z.strictObject({ name: CHANNEL });

const DONE = z.strictObject({
  answer: z.literal('moved'),
  /** False: it names that already. */
  changed: z.boolean(),
  channel: CHANNEL,
  /** The one that it has now. */
  snapshot: SNAPSHOT,
  warnings: z.array(z.string()),
});

/** What channels are to name. */
export function channelWrites(desk: ApiDesk, writer: Writer): readonly Route[] {
  const { signer } = desk;
  return [
    route({
      method: 'POST',
      path: '/channels/{name}/move',
      summary: 'Moves a channel to a release that the state holds.',
      description:
        'One that is newer than all that the channel ever named goes through the gate of publishing; one that it named before is gone back to.',
      scope: 'channels',
      parameters: OF_CHANNEL,
      body: z.strictObject({ release: RELEASE }),
      answers: { 200: DONE, 202: WAITING },
      handle: ({ parameters: { name }, body: { release }, caller }) =>
        writer.inTurn(async (state) => {
          await demandChannel(desk, name);
          if (!(await storedReleases(state)).includes(release))
            throw new Refusal('absent', `There is no release ${release} here.`, { release });
          await demandNotWithdrawn(state, release);
          const now = await readChannel(state, name);
          if (now && namesRelease(now.snapshot, release))
            return { 200: doneOf(name, false, { snapshot: now.snapshot, warnings: [] }) };
          const command = [
            ...['bootseal', 'channel', 'move', name, release, '--state', STATE],
            ...['--anchors', ANCHORS, '--snapshot-key', KEYS, '--script-keys', KEYS],
          ];
          if (!signer) return { 202: waiting({ channel: name, release }, command) };
          return { 200: doneOf(name, true, await signer.move(name, release, caller.name)) };
        }),
    }),
    route({
      method: 'POST',
      path: '/channels/{name}/renew',
      summary: 'A fresh snapshot of what a channel names.',
      scope: 'channels',
      parameters: OF_CHANNEL,
      body: NOTHING,
      answers: { 200: DONE, 202: WAITING },
      handle: ({ parameters: { name }, caller }) =>
        writer.inTurn(async () => {
          await demandChannel(desk, name);
          const command: ShellWord[] = [
            ...['bootseal', 'channel', 'renew', name, '--state', STATE, '--snapshot-key', KEYS],
          ];
          if (!signer) return { 202: waiting({ channel: name }, command) };
          return { 200: doneOf(name, true, await signer.renew(name, caller.name)) };
        }),
    }),
  ];
}

function doneOf(
  channel: string,
  changed: boolean,
  {
    snapshot,
    warnings,
  }: { readonly snapshot: Parameters<typeof snapshotFacts>[0]; readonly warnings: readonly string[] },
): z.input<typeof DONE> {
  return { answer: 'moved', changed, channel, snapshot: snapshotFacts(snapshot), warnings: [...warnings] };
}
