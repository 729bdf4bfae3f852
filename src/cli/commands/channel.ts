import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { ListedChannel, moveChannelTo } from '../../publish/channel.ts';
import { act, channelName, folder, folders, newCommand, releaseId, stateAt } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { demandState, keyholderOf, type SignedByOptions, withKeyholder } from '../keyholder-options.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';
import { type MovedFacts, movedJson, showMoved, snapshotJson } from './publish.ts';

interface Options {
  readonly state: string;
  readonly snapshotCert?: string;
}

interface MovingOptions extends SignedByOptions {
  readonly scriptKeys?: string;
  readonly policy?: string;
  readonly anchors?: readonly string[];
}

const EXAMPLE = 'bootseal channel';

export function channelCommand(): Command {
  return newCommand('channel', SUMMARIES.channel, `${EXAMPLE} show stable --state /srv/bootseal`)
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(renewCommand())
    .addCommand(entryCommand())
    .addCommand(moveCommand())
    .addCommand(rollbackCommand());
}

function ofState(command: Command): Command {
  return command.requiredOption('--state <dir>', 'where releases and channels live', stateAt);
}

function moving(command: Command): Command {
  return withKeyholder(
    command
      .option('--state <dir>', 'where releases and channels live', stateAt)
      .option(
        '--snapshot-key <dir>',
        'a folder as "init" makes it; default: a key of the state’s own',
        folder,
      ),
  );
}

function listCommand(): Command {
  return ofState(
    newCommand('list', 'every channel and what it points at', `${EXAMPLE} list --state /srv/bootseal`),
  )
    .option('--snapshot-cert <file>', 'whose snapshots to take (PEM); default: the state’s own')
    .action(
      act<Options>(async ({ terminal, now }, { state, snapshotCert }) => {
        const { listChannels } = await import('../../publish/channel.ts');
        const rows = await listChannels({
          state,
          now,
          ...(snapshotCert === undefined ? {} : { snapshotCertificate: snapshotCert }),
        });
        terminal.json({
          channels: rows.map(({ channel, snapshot, refusal }) => ({
            channel,
            verified: refusal === undefined,
            refusal: refusal?.toJSON(),
            ...(snapshot ? { snapshot: snapshotJson(snapshot) } : {}),
          })),
        });
        terminal.table(
          ['channel', 'machines', 'release', 'serial', 'snapshot', 'expires', 'verdict'],
          rows.flatMap(listedRows),
        );
        terminal.print();
        const refused = rows.flatMap(({ refusal }) => (refusal ? [refusal] : []));
        if (rows.length === 0) terminal.print('No channel yet: "bootseal publish" makes one.', 'dim');
        for (const refusal of refused) terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
        const [first] = refused;
        return first ? statusOf(first) : EXIT.ok;
      }),
    );
}

/** One for each architecture. */
function listedRows({ channel, snapshot, refusal, withdrawn }: ListedChannel): Cell[][] {
  const verdict = (arch: string): Cell => {
    const why = withdrawn.size > 0 ? withdrawn.get(arch) : refusal;
    return why ? { text: why.code, style: 'bad' } : { text: 'verified', style: 'good' };
  };
  const unknown = { text: '–' };
  if (!snapshot) {
    return [[{ text: channel }, unknown, unknown, unknown, unknown, unknown, verdict('')]];
  }
  return snapshot.releases.map(({ arch, release, serial }) => [
    { text: channel },
    { text: arch },
    { text: release },
    { text: String(serial) },
    { text: String(snapshot.counter) },
    { text: isoSeconds(snapshot.expires) },
    verdict(arch),
  ]);
}

function showCommand(): Command {
  return ofState(
    newCommand(
      'show',
      'every snapshot of a channel, the newest last',
      `${EXAMPLE} show stable --state /srv/bootseal`,
    ),
  )
    .argument('<channel>', 'its name', channelName)
    .option('--snapshot-cert <file>', 'whose snapshots to take (PEM); default: the state’s own')
    .action(
      act<Options>(async ({ terminal, now }, { state, snapshotCert }, channel = '') => {
        const { showChannel } = await import('../../publish/channel.ts');
        const { history, refusal } = await showChannel({
          channel,
          state,
          now,
          ...(snapshotCert === undefined ? {} : { snapshotCertificate: snapshotCert }),
        });
        terminal.json({
          channel,
          verified: refusal === undefined,
          refusal: refusal?.toJSON(),
          history: history.map(snapshotJson),
        });
        terminal.table(
          ['counter', 'machines', 'release', 'serial', 'issued', 'expires', ''],
          history.flatMap(({ counter, issued, expires, releases }) =>
            releases.map(({ arch, release, serial, rollbackFrom }): Cell[] => [
              { text: String(counter) },
              { text: arch },
              { text: release },
              { text: String(serial) },
              { text: isoSeconds(issued) },
              { text: isoSeconds(expires) },
              { text: rollbackFrom === undefined ? '' : `back from ${rollbackFrom}`, style: 'dim' },
            ]),
          ),
        );
        terminal.print();
        if (!refusal) {
          const named = history.at(-1)?.releases.map(({ release }) => release) ?? [];
          terminal.print(`VERIFIED: ${channel} → ${named.join(', ')}`, 'good');
          return EXIT.ok;
        }
        terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
        return statusOf(refusal);
      }),
    );
}

function renewCommand(): Command {
  return moving(
    newCommand(
      'renew',
      'a fresh snapshot of the same release; needs no release key',
      `${EXAMPLE} renew stable --state /srv/bootseal`,
    ),
  )
    .argument('<channel>', 'its name', channelName)
    .action(
      act<MovingOptions>(async ({ terminal, now }, options, channel = '') => {
        const keyholder = await keyholderOf(options);
        if (keyholder) return told(terminal, await keyholder.renew(channel));
        const { state, snapshotKey } = options;
        const given = snapshotKey === undefined ? {} : { snapshotKey };
        const { renewChannel } = await import('../../publish/channel.ts');
        return told(terminal, await renewChannel({ channel, state: demandState(state), now, ...given }));
      }),
    );
}

function entryCommand(): Command {
  return ofState(
    newCommand(
      'entry',
      'the channel whose release machines begin with at a plain web server',
      `${EXAMPLE} entry stable --state /srv/bootseal`,
    ),
  )
    .argument('<channel>', 'its name', channelName)
    .action(
      act<Options>(async ({ terminal }, { state }, channel = '') => {
        const { chooseEntry } = await import('../../publish/channel.ts');
        const warnings = await chooseEntry({ state, channel });
        terminal.json({ entry: channel, warnings });
        for (const warning of warnings) terminal.print(`Warning: ${warning}.`, 'bad');
        terminal.print(`Machines that ask ${state}/www for nothing else begin with ${channel}.`, 'good');
        return EXIT.ok;
      }),
    );
}

function moveCommand(): Command {
  return toRelease(
    newCommand(
      'move',
      'to a release that is stored: a newer one goes through the gate, an older one is gone back to',
      `${EXAMPLE} move stable arch/2026.11.02 --keyholder /run/bootseal-keyholder/socket`,
    ),
    async () => (await import('../../publish/channel.ts')).moveChannelTo,
  );
}

function rollbackCommand(): Command {
  return toRelease(
    newCommand(
      'rollback',
      'go back to a release published before, on record',
      `${EXAMPLE} rollback stable arch/2026.10.01 --state /srv/bootseal --anchors keys/anchors`,
    ),
    async () => (await import('../../publish/channel.ts')).rollbackChannel,
  );
}

function toRelease(command: Command, loadGo: () => Promise<typeof moveChannelTo>): Command {
  return moving(command)
    .argument('<channel>', 'its name', channelName)
    .argument('<release>', 'NAME/VERSION, published before', releaseId)
    .option('--anchors <dir>', 'what its seals must still lead to; once for each CA', folders)
    .option('--policy <file>', 'must say what the policy of the state says')
    .option(
      '--script-keys <dir>',
      'who signs the scripts that machines get by name: a folder as "init" makes it',
      folder,
    )
    .action(
      act<MovingOptions>(async ({ terminal, now }, options, channel = '', release = '') => {
        const { snapshotKey, anchors, policy, scriptKeys } = options;
        const keyholder = await keyholderOf(options, {
          '--anchors': anchors,
          '--policy': policy,
          '--script-keys': scriptKeys,
        });
        if (keyholder) return told(terminal, await keyholder.move(channel, release));
        const state = demandState(options.state);
        if (anchors === undefined)
          throw new UsageError(
            'Name what the seals must lead to with --anchors, or a keyholder with --keyholder.',
          );
        const { readScriptKeys } = await import('../../signing/keys/script-keys.ts');
        const given = {
          ...(snapshotKey === undefined ? {} : { snapshotKey }),
          ...(policy === undefined ? {} : { policy }),
          ...(scriptKeys === undefined ? {} : { scriptKeys: await readScriptKeys(scriptKeys, now) }),
        };
        const go = await loadGo();
        return told(terminal, await go({ channel, release, state, anchors, now, ...given }));
      }),
    );
}

function told(terminal: Terminal, moved: MovedFacts): number {
  terminal.json(movedJson(moved));
  showMoved(terminal, moved);
  return EXIT.ok;
}
