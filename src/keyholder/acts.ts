import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { encodeSnapshot } from '../formats/records/snapshot.ts';
import { moveChannelTo, renewChannel } from '../publish/channel.ts';
import type { MovedChannel } from '../publish/channel-move.ts';
import { signLog } from '../publish/log-sign.ts';
import { publish } from '../publish/publish.ts';
import type { Log } from '../serve/event-log.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { recordAct } from '../store/log.ts';
import { entryInWords, readWaiting } from '../store/log-waiting.ts';
import { openExistingState } from '../store/state.ts';
import type { AnchorFolders } from '../trust/trust-roots.ts';
import type { Peer } from './peer.ts';
import type { Done, KeyholderRequest } from './protocol.ts';

/** What a keyholder works on and with. */
export interface Desk {
  readonly state: string;
  readonly key: SnapshotKey;
  /** What a release must lead to; undefined: it moves no channel, and renews only. */
  readonly anchors: AnchorFolders | undefined;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly log: Log;
}

/**
 * Does what was asked: writes into the log who asked for what, and then builds, judges, signs. A crash in between leaves
 * an entry that waits for a signature, which `findUnfinished` names.
 *
 * @throws Refusal, UsageError, IoError as the act itself.
 */
export async function perform(desk: Desk, request: KeyholderRequest, peer: Peer): Promise<Done> {
  // Where nothing is to be signed there is nothing to log: who asks every minute fills no log.
  if (request.ask === 'checkpoint' && (await readWaiting(desk.state)).count === 0) return signed(desk);
  if ((request.ask === 'move' || request.ask === 'publish') && desk.anchors === undefined)
    throw new UsageError('This keyholder was started without --anchors: it renews channels and moves none.');
  await logAsked(desk, request, peer);
  try {
    return await act(desk, request);
  } finally {
    await signLeft(desk);
  }
}

async function act(desk: Desk, request: KeyholderRequest): Promise<Done> {
  const { state, key, anchors = [], clock } = desk;
  const given = { state, snapshotKey: key, now: clock() };
  switch (request.ask) {
    case 'renew':
      return moved(await renewChannel({ ...given, channel: request.channel }));
    case 'move': {
      const { channel, release } = request;
      return moved(await moveChannelTo({ ...given, channel, release, anchors }));
    }
    case 'publish': {
      const { channel, tree } = request;
      const { moved: published, refusal, gates } = await publish({ ...given, channel, tree, anchors });
      if (!published)
        throw refusal ?? new Refusal('no-verdict', `Nothing vouches for ${tree}.`, { path: tree });
      const warned = gates.flatMap(({ gate, warnings }) => warnings.map((text) => `${gate} ${text}`));
      return moved({ ...published, warnings: [...warned, ...published.warnings] });
    }
    case 'checkpoint':
      return signed(desk);
  }
}

async function logAsked(
  { state: folder, clock }: Desk,
  request: KeyholderRequest,
  peer: Peer,
): Promise<void> {
  const state = await openExistingState(folder);
  try {
    await recordAct(folder, {
      time: clock(),
      act: 'ask',
      ...('channel' in request ? { channel: request.channel } : {}),
      ...('release' in request ? { release: request.release } : {}),
      origin: `keyholder: ${request.ask}${'tree' in request ? ` ${request.tree}` : ''}, asked by uid ${peer.uid}`,
    });
  } finally {
    await state.release();
  }
}

/** What ended before it came to a signature left its entry without one. It has its own answer, whatever comes of this. */
async function signLeft({ state, key, log }: Desk): Promise<void> {
  try {
    if ((await readWaiting(state)).count > 0) await signLog({ state, snapshotKey: key });
  } catch (error) {
    log.warn({ err: error }, 'entries of the log wait for a signature');
  }
}

function moved({ snapshot, fingerprint, warnings }: MovedChannel): Done {
  return {
    'bootseal-keyholder': 1,
    answer: 'done',
    did: 'moved',
    snapshot: Buffer.from(encodeSnapshot(snapshot)).toString('latin1'),
    key: fingerprint,
    warnings: [...warnings],
  };
}

async function signed({ state, key }: Desk): Promise<Done> {
  const { size, signed: count, entries } = await signLog({ state, snapshotKey: key });
  return {
    'bootseal-keyholder': 1,
    answer: 'done',
    did: 'signed',
    size,
    signed: count,
    entries: entries.map(entryInWords),
  };
}
