import { realpath } from 'node:fs/promises';
import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { ChannelRelease, Snapshot } from '../../formats/records/snapshot.ts';
import type { MovedChannel } from '../../publish/channel-move.ts';
import { demandOrigin } from '../../publish/demand-origin.ts';
import type { GateRow } from '../../publish/publish-gate.ts';
import { accessOf } from '../../signing/keys/passphrase.ts';
import { act, channelName, folder, folders, newCommand, understood } from '../context.ts';
import { EXIT, statusOf } from '../exit.ts';
import { demandState, keyholderOf, type SignedByOptions, withKeyholder } from '../keyholder-options.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';
import { treeProgress } from '../tree-progress.ts';

interface Options extends SignedByOptions, PassphraseWords {
  readonly scriptKeys?: string;
  readonly channel: string;
  readonly anchors?: readonly string[];
  readonly policy?: string;
  readonly origin?: string;
  readonly dryRun?: boolean;
}

export function publishCommand(): Command {
  const command = withKeyholder(
    newCommand(
      'publish',
      SUMMARIES.publish,
      'bootseal publish out/netboot --channel stable --state /srv/bootseal --anchors keys/anchors',
    ),
  )
    .argument('<tree>', 'a sealed tree', folder)
    .requiredOption('--channel <name>', 'which channel shall point at it', channelName)
    .option('--state <dir>', 'where releases and channels live; made where it does not exist')
    .option('--anchors <dir>', 'what its seals must lead to; once for each CA', folders)
    .option(
      '--policy <file>',
      'dates, pins, revocations and gate rules (TOML): of the state from its first publishing on; see "bootseal policy"',
    )
    .option('--snapshot-key <dir>', 'a folder as "init" makes it; default: a key of the state’s own', folder)
    .option(
      '--origin <url>',
      'where it was fetched from, if others sealed it: its seals are then never replaced',
      understood(demandOrigin),
    )
    .option(
      '--script-keys <dir>',
      'who signs the scripts that machines get by name: a folder as "init" makes it; see "bootseal machines"',
      folder,
    )
    .option('--dry-run', 'ask every gate and change nothing');
  return addPassphraseOption(command).action(
    act<Options>(async ({ terminal, now }, options, tree = '') => {
      const { channel, anchors, policy, snapshotKey, origin, dryRun, scriptKeys } = options;
      const keyholder = await keyholderOf(options, {
        '--anchors': anchors,
        '--policy': policy,
        '--origin': origin,
        '--dry-run': dryRun,
        '--script-keys': scriptKeys,
      });
      if (keyholder) {
        const moved = await keyholder.publish(channel, await realpath(tree));
        // Of several architectures the tree's own manifest says which one it is for, and so does the snapshot.
        const { releases } = moved.snapshot;
        terminal.json({
          ...(releases.length === 1 ? { release: releases[0]?.release } : {}),
          published: true,
          dryRun: false,
          ...movedJson(moved),
        });
        showMoved(terminal, moved);
        return EXIT.ok;
      }
      const state = demandState(options.state);
      if (anchors === undefined) throw new UsageError('Name what the seals must lead to with --anchors.');
      const passphrase = passphrases(options);
      const { publish } = await import('../../publish/publish.ts');
      const { readScriptKeys } = await import('../../signing/keys/script-keys.ts');
      const keys =
        scriptKeys === undefined
          ? undefined
          : await readScriptKeys(scriptKeys, now, accessOf(passphrase ? { passphrase } : {}));
      const bar = treeProgress(terminal, `judging ${tree}`);
      const { gates, refusal, moved, verdict } = await publish({
        tree,
        channel,
        state,
        anchors,
        now,
        ...(policy === undefined ? {} : { policy }),
        ...(snapshotKey === undefined ? {} : { snapshotKey }),
        ...(origin === undefined ? {} : { origin }),
        ...(dryRun ? { dryRun } : {}),
        ...(keys ? { scriptKeys: keys } : {}),
        onProgress: bar.update,
      }).finally(bar.stop);
      const release = verdict.manifest?.release ?? tree;
      terminal.json({
        release,
        published: moved !== undefined,
        dryRun: dryRun === true,
        refusal: refusal?.toJSON(),
        gates: gates.map(({ refusal: no, ...row }) => ({
          ...row,
          passed: row.fact === 'not asked' ? null : no === undefined,
          refusal: no?.toJSON(),
        })),
        ...(moved ? movedJson(moved) : {}),
      });
      showGates(terminal, gates);
      if (refusal) {
        terminal.refused(`REFUSED: ${refusal.message} [${refusal.code}]`);
        return statusOf(refusal);
      }
      if (moved) showMoved(terminal, moved);
      else terminal.print(`${release} would be published to ${channel}.`, 'good');
      return EXIT.ok;
    }),
  );
}

export function showGates(terminal: Terminal, gates: readonly GateRow[]): void {
  const answer = ({ refusal, fact }: GateRow): Cell =>
    refusal
      ? { text: refusal.code, style: 'bad' }
      : fact === 'not asked'
        ? { text: '–', style: 'dim' }
        : { text: 'passed', style: 'good' };
  terminal.table(
    ['gate', 'answer', 'what was found'],
    gates.map((row) => [
      { text: row.gate },
      answer(row),
      { text: row.refusal?.message ?? row.fact, style: 'dim' },
    ]),
  );
  const warned = gates.filter(({ warnings }) => warnings.length > 0);
  if (warned.length > 0) terminal.print();
  for (const { gate, warnings } of warned) {
    for (const warning of warnings) terminal.print(`${gate} ${warning}.`, 'dim');
  }
  terminal.print();
}

/** Of a channel that moved, what is told: a keyholder that moved it never makes a key. */
export type MovedFacts = Pick<MovedChannel, 'snapshot' | 'fingerprint' | 'warnings'> &
  Partial<Pick<MovedChannel, 'madeKey'>>;

export function showMoved(
  terminal: Terminal,
  { snapshot, fingerprint, madeKey, warnings }: MovedFacts,
): void {
  const { channel, counter, expires, releases } = snapshot;
  for (const { arch, release, serial, rollbackFrom } of releases) {
    const machines = releases.length === 1 ? '' : ` for ${arch}`;
    const back = rollbackFrom === undefined ? '' : `, back from ${rollbackFrom}`;
    terminal.print(
      `${channel} → ${release}${machines}, serial ${serial}${back}: snapshot ${counter}, until ${isoSeconds(expires)}.`,
      'good',
    );
  }
  const made = madeKey
    ? 'Made a snapshot key; tell it to whoever follows this channel'
    : 'Signed by the snapshot key';
  terminal.print(`${made}: sha256 ${fingerprint}`);
  for (const warning of warnings) terminal.print(`Warning: ${warning}.`, 'bad');
}

export function movedJson({ snapshot, fingerprint, madeKey = false, warnings }: MovedFacts): object {
  return {
    snapshot: snapshotJson(snapshot),
    snapshotKey: fingerprint,
    madeKey,
    warnings,
  };
}

export function snapshotJson({ issued, expires, releases, ...rest }: Snapshot): object {
  return {
    ...rest,
    issued: isoSeconds(issued),
    expires: isoSeconds(expires),
    releases: releases.map(channelReleaseJson),
  };
}

export function channelReleaseJson({ bestBefore, ...rest }: ChannelRelease): object {
  return { ...rest, bestBefore: isoSeconds(bestBefore) };
}
