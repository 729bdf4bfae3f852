import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import { encodeArming } from '../formats/records/armed-boot.ts';
import { encodeSnapshot } from '../formats/records/snapshot.ts';
import { assignedText, planAssigned, writeAssigned } from '../machines/assigned-file.ts';
import { armMachine, disarmMachine } from '../publish/arm.ts';
import { applyMachines, moveChannelTo, renewChannel } from '../publish/channel.ts';
import type { MovedChannel } from '../publish/channel-move.ts';
import { logAct } from '../publish/log-act.ts';
import { signLog } from '../publish/log-sign.ts';
import { publish } from '../publish/publish.ts';
import { withdrawRelease } from '../publish/withdraw.ts';
import type { ServerAddress } from '../scripts/server-address.ts';
import type { Log } from '../serve/event-log.ts';
import { accessOf, type KeyAccess } from '../signing/keys/passphrase.ts';
import { readScriptKeys, type ScriptKeys } from '../signing/keys/script-keys.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { assigningAct } from '../store/assigning-act.ts';
import { recordAct } from '../store/log.ts';
import { entryInWords, readWaiting } from '../store/log-waiting.ts';
import { openExistingState, openStateWhenFree } from '../store/state.ts';
import { machineFilesOf } from '../store/state-machines.ts';
import type { AnchorFolders } from '../trust/trust-roots.ts';
import type { Peer } from './peer.ts';
import type { Done, KeyholderRequest } from './protocol.ts';

/** What a keyholder works on and with. */
export interface Desk {
  readonly state: string;
  readonly key: SnapshotKey;
  /** What a release must lead to; undefined: it moves no channel, and renews only. */
  readonly anchors: AnchorFolders | undefined;
  /** What signs scripts that are armed; undefined: it arms nothing. */
  readonly scripts: ScriptDesk | undefined;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly log: Log;
}

/** What has its turn, and its entry in the log before it is done. */
export type Acted = Exclude<KeyholderRequest, { ask: 'consume' }>;

/** What signs the scripts of machines. */
export interface ScriptDesk extends KeyAccess {
  /** An `init` folder with the key of the CA, or a folder that `keys delegate` filled, with one for each day. */
  readonly keys: string;
  /** Where machines will find the server; undefined: where a release's own scripts do. */
  readonly server: ServerAddress | undefined;
}

/**
 * Does what was asked: writes into the log who asked for what, and then builds, judges, signs. A crash in between leaves
 * an entry that waits for a signature, which `findUnfinished` names.
 *
 * @throws Refusal, UsageError, IoError as the act itself.
 */
export async function perform(desk: Desk, request: Acted, peer: Peer): Promise<Done> {
  // Where nothing is to be signed there is nothing to log: who asks every minute fills no log.
  if (request.ask === 'checkpoint' && (await readWaiting(desk.state)).count === 0) return signed(desk);
  if (['move', 'publish', 'apply'].includes(request.ask) && desk.anchors === undefined)
    throw new UsageError('This keyholder was started without --anchors: it renews channels and moves none.');
  if (request.ask === 'arm' && (desk.anchors === undefined || desk.scripts === undefined))
    throw new UsageError(
      'This keyholder was started without --anchors and --script-keys: it arms no machine.',
    );
  await logAsked(desk, request, peer);
  try {
    return await act(desk, request, peer);
  } finally {
    await signLeft(desk);
  }
}

async function act(desk: Desk, request: Acted, peer: Peer): Promise<Done> {
  const { state, key, anchors = [], clock } = desk;
  const now = clock();
  const scriptKeys = await scriptKeysOf(desk, request, now);
  const given = { state, snapshotKey: key, now, ...(scriptKeys ? { scriptKeys } : {}) };
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
    case 'apply':
      return moved(await applyMachines({ ...given, channel: request.channel, anchors }));
    case 'checkpoint':
      return signed(desk);
    case 'arm':
      return armed(desk, request, peer);
    case 'disarm': {
      const before = await disarmMachine({ ...given, mac: request.mac, by: armedBy(request, peer) });
      return wrote(before !== undefined);
    }
    case 'assign':
      return assigned(desk, request, peer);
    case 'withdraw': {
      const { release, reason, cutRunning } = request;
      const by = `by ${whoAsks(request, peer)}`;
      const { changed, channels } = await withdrawRelease({ ...given, release, reason, cutRunning, by });
      return wrote(
        changed,
        channels.map((name) => `${name} still names ${release}, and offers nothing until it is moved`),
      );
    }
  }
}

/** What signs the scripts that a channel takes along; undefined where it needs none, or has nobody who does. */
async function scriptKeysOf(
  { scripts }: Desk,
  { ask }: KeyholderRequest,
  now: number,
): Promise<ScriptKeys | undefined> {
  if (!scripts || !['move', 'publish', 'apply'].includes(ask)) return undefined;
  return readScriptKeys(await keysOfDay(scripts.keys, now), now, accessOf(scripts));
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
      origin: `keyholder: ${request.ask}${aboutWhat(request)}, asked by ${whoAsks(request, peer)}`,
    });
  } finally {
    await state.release();
  }
}

function aboutWhat(request: KeyholderRequest): string {
  if ('tree' in request) return ` ${request.tree}`;
  return 'mac' in request ? ` ${request.mac}` : '';
}

/** What the kernel says of who asks; and whom that one names, which nobody else vouches for. */
function whoAsks({ by }: KeyholderRequest, { uid }: Peer): string {
  return by === undefined ? `uid ${uid}` : `uid ${uid} for the token ${by}`;
}

/** The same, as short as an arming keeps it. */
function armedBy({ by }: KeyholderRequest, { uid }: Peer): string {
  return by === undefined ? `keyholder, asked by uid ${uid}` : `keyholder, uid ${uid}, token ${by}`;
}

/** What ended before it came to a signature left its entry without one. It has its own answer, whatever comes of this. */
async function signLeft({ state, key, log }: Desk): Promise<void> {
  try {
    if ((await readWaiting(state)).count > 0) await signLog({ state, snapshotKey: key });
  } catch (error) {
    log.warn({ err: error }, 'entries of the log wait for a signature');
  }
}

async function assigned(
  { state: folder, key, clock }: Desk,
  request: Extract<KeyholderRequest, { ask: 'assign' }>,
  peer: Peer,
): Promise<Done> {
  const { mac, assigned: wanted } = request;
  const state = await openStateWhenFree(folder);
  try {
    const { before, after } = await planAssigned(machineFilesOf(folder), mac, wanted);
    if (before === after) return wrote(false);
    await logAct(
      folder,
      assigningAct(mac, wanted && assignedText(wanted), whoAsks(request, peer), clock()),
      key,
    );
    await writeAssigned(machineFilesOf(folder), mac, after);
    return wrote(true);
  } finally {
    await state.release();
  }
}

async function armed(
  { state, key, anchors = [], scripts, clock }: Desk,
  request: Extract<KeyholderRequest, { ask: 'arm' }>,
  peer: Peer,
): Promise<Done> {
  if (!scripts) throw new UsageError('This keyholder arms no machine.');
  const { 'bootseal-keyholder': _, ask: _ask, by: _by, id, ...facts } = request;
  const now = clock();
  const { keys, server, ...access } = scripts;
  const { arming, warnings } = await armMachine({
    ...accessOf(access),
    ...facts,
    state,
    anchors,
    keys: await keysOfDay(keys, now),
    server,
    by: armedBy(request, peer),
    ...(id === undefined ? {} : { newId: () => id }),
    snapshotKey: key,
    now,
  });
  return {
    'bootseal-keyholder': 1,
    answer: 'done',
    did: 'armed',
    arming: Buffer.from(encodeArming(arming)).toString('latin1'),
    warnings: [...warnings],
  };
}

/** Of a folder with one for each day, that of today. */
async function keysOfDay(keys: string, now: number): Promise<string> {
  const today = join(keys, new Date(now).toISOString().slice(0, 10));
  return (await isThere(today)) ? today : keys;
}

function wrote(changed: boolean, warnings: readonly string[] = []): Done {
  return { 'bootseal-keyholder': 1, answer: 'done', did: 'wrote', changed, warnings: warnings.slice(0, 8) };
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
