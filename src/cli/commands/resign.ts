import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { ResignedStore } from '../../resigning/store.ts';
import type { ResignRow } from '../../resigning/stored.ts';
import { serverAddress } from '../../scripts/server-address.ts';
import {
  act,
  type Context,
  file,
  files,
  folder,
  folders,
  newCommand,
  releaseId,
  releaseIds,
  stateAt,
  time,
  understood,
} from '../context.ts';
import { EXIT, INTERRUPTED, statusOf } from '../exit.ts';
import { Interrupted, interruptible } from '../interrupt.ts';
import { sourceDateEpoch } from '../layout-options.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { stateHome } from '../state-home.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';

interface Options extends PassphraseWords {
  readonly state?: string;
  readonly keys?: string;
  readonly alsoKeys?: readonly string[];
  readonly anchors?: readonly string[];
  readonly successors?: readonly string[];
  readonly policy?: string;
  readonly issued?: number;
  readonly cmdline?: string;
  readonly moduleCmdline?: string;
  readonly release?: string;
  readonly url?: string;
  readonly only?: readonly string[];
  readonly snapshotKey?: string;
  readonly restore?: string;
  readonly journal?: string;
  readonly dryRun?: boolean;
}

const EXAMPLE = `bootseal resign out/netboot --keys keys --cmdline 'archisobasedir=arch quiet'
bootseal resign --state /srv/bootseal --keys keys-2028 --anchors keys --dry-run
bootseal resign --state /srv/bootseal --keys keys --restore arch/2026.11.01`;

export function resignCommand(): Command {
  const command = newCommand('resign', SUMMARIES.resign, EXAMPLE)
    .argument('[tree]', 'a sealed tree', folder)
    .option('--state <dir>', 'instead of a tree: every release of this store', stateAt)
    .option('--keys <dir>', 'the folder with the keys that sealed them, or with those that follow', folder)
    .option('--also-keys <dir>', 'such a folder of another CA; may be repeated', folders)
    .option(
      '--anchors <dir>',
      'whose seals count as well: those from before a rotation, or of other sites',
      folders,
    )
    .option('--successors <file>', 'who follows whom, signed by the old keys; default: that of --keys', files)
    .option(
      '--policy <file>',
      'revocations of your own (TOML); a state has its policy, which it must repeat',
      file,
    )
    .option('--issued <time>', 'the date of the new records; default: SOURCE_DATE_EPOCH, now', time)
    .option('--cmdline <words>', 'other fixed words of the kernel command line')
    .option('--module-cmdline <words>', 'those of the module, where the release has one')
    .option('--release <name/version>', 'another name for the same payload', releaseId)
    .option(
      '--url <url>',
      'another literal server for the scripts; default: the one that they name now',
      understood(serverAddress),
    )
    .option('--only <release...>', 'of the store, these alone', releaseIds)
    .option('--snapshot-key <dir>', 'what moves the channels; default: a key of the state’s own', folder)
    .option(
      '--journal <dir>',
      'of a tree: a private folder for what is unfinished; default: $XDG_STATE_HOME/bootseal/resign',
    )
    .option('--restore <release>', 'take a release back from quarantine, where its seals hold', releaseId)
    .option('--dry-run', 'say what would change, and change nothing');
  return addPassphraseOption(command).action(
    act<Options>(async (context, options, tree) => {
      if ((tree === undefined) === (options.state === undefined))
        throw new UsageError('Name either a tree or --state.');
      if (options.restore !== undefined) return restored(context, options, options.restore);
      const { keys, state } = options;
      if (keys === undefined) throw new UsageError('Signing needs --keys.');
      if (state !== undefined && options.journal !== undefined)
        throw new UsageError('--journal goes with a tree; a state has its own.');
      if (state !== undefined) return ofStore(context, options, state, keys);
      if (options.only || options.snapshotKey)
        throw new UsageError('--only and --snapshot-key go with --state.');
      return ofTree(context, options, tree ?? '', keys);
    }),
  );
}

async function ofTree({ terminal, now }: Context, options: Options, tree: string, keys: string) {
  const { resignTree } = await import('../../resigning/tree.ts');
  const passphrase = passphrases(options);
  const { manifest, manifestSha256, changes, steps } = await resignTree({
    ...wishes(options),
    ...(passphrase ? { passphrase } : {}),
    tree,
    journals: options.journal ?? join(stateHome(process.env), 'resign'),
    keys,
    now,
  });
  const { release, serial, bestBefore } = manifest;
  const dryRun = options.dryRun === true;
  terminal.json({ release, serial, manifestSha256, dryRun, changes, steps });
  for (const path of changes) terminal.print(path);
  if (changes.length > 0) terminal.print();
  const what =
    changes.length === 0
      ? 'nothing to change'
      : `${changes.length} files ${dryRun ? 'would be written' : 'written'}`;
  const by = steps.length > 0 ? ', by keys that follow the old ones' : '';
  terminal.print(
    `${release}, serial ${serial}: ${what}${by}; best before ${isoSeconds(bestBefore)}.`,
    'good',
  );
  return EXIT.ok;
}

async function ofStore(context: Context, options: Options, state: string, keys: string): Promise<number> {
  const { resignStore } = await import('../../resigning/store.ts');
  const { terminal, now } = context;
  let bar: ReturnType<typeof terminal.progress> | undefined;
  let at = { done: 0, of: 0 };
  try {
    const { only, snapshotKey } = options;
    const passphrase = passphrases(options);
    const result = await interruptible((stop) =>
      resignStore({
        ...wishes(options),
        ...(passphrase ? { passphrase } : {}),
        ...(only ? { only } : {}),
        ...(snapshotKey === undefined ? {} : { snapshotKey }),
        state,
        keys,
        now,
        onProgress: (done, of) => {
          at = { done, of };
          bar ??= terminal.progress(`signing anew, releases: ${of}`, of, String);
          bar.update(done);
          stop();
        },
      }),
    ).finally(() => bar?.stop());
    return told(context, result, options.dryRun === true);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    const message = `Interrupted by ${error.signal} after ${at.done} of ${at.of} releases: the same command goes on.`;
    terminal.json({ error: message });
    terminal.error(message);
    return error.signal === 'SIGTERM' ? INTERRUPTED.SIGTERM : INTERRUPTED.SIGINT;
  }
}

async function restored({ terminal, now }: Context, options: Options, release: string): Promise<number> {
  const { restoreRelease } = await import('../../resigning/restore.ts');
  const { state, keys, anchors = [], policy, snapshotKey } = options;
  if (state === undefined) throw new UsageError('--restore needs --state: a quarantine is part of a store.');
  const given = [...(keys === undefined ? [] : [keys]), ...anchors];
  if (given.length === 0) throw new UsageError('Say whose seals count: --keys DIR or --anchors DIR.');
  const row = await restoreRelease({
    state,
    release,
    anchors: given,
    now,
    ...(policy === undefined ? {} : { policy }),
    ...(snapshotKey === undefined ? {} : { snapshotKey }),
  });
  terminal.json({ releases: [rowJson(row)] });
  terminal.print(`${release} is back in service.`, 'good');
  return EXIT.ok;
}

function wishes(options: Options) {
  const { alsoKeys, anchors, successors, policy, cmdline, moduleCmdline, release, url, dryRun } = options;
  const issued = options.issued ?? sourceDateEpoch();
  return {
    ...(alsoKeys ? { alsoKeys } : {}),
    ...(anchors ? { anchors } : {}),
    ...(successors ? { successors } : {}),
    ...(policy === undefined ? {} : { policy }),
    ...(issued === undefined ? {} : { issued }),
    ...(cmdline === undefined ? {} : { cmdline }),
    ...(moduleCmdline === undefined ? {} : { moduleCmdline }),
    ...(release === undefined ? {} : { release }),
    ...(url === undefined ? {} : { url }),
    ...(dryRun ? { dryRun } : {}),
  };
}

function told({ terminal }: Context, { rows, left, stopped }: ResignedStore, dryRun: boolean): number {
  terminal.json({ dryRun, left, stopped: stopped?.toJSON(), releases: rows.map(rowJson) });
  const bad = rows.filter(({ outcome }) => outcome === 'quarantined' || outcome === 'refused');
  terminal.table(
    ['release', 'origin', 'keys', dryRun ? 'would be' : 'outcome', 'what'],
    rows.map((row) => [
      { text: row.release },
      { text: row.origin.recorded ? row.origin.origin : `${row.origin.origin} (not recorded)`, style: 'dim' },
      { text: row.key ?? '–', style: 'dim' },
      outcomeCell(row),
      { text: whatOf(row), style: 'dim' },
    ]),
  );
  terminal.print();
  for (const { release, command } of bad)
    if (command !== undefined) terminal.print(`${release}: ${command}`, 'dim');
  if (rows.some(({ key, outcome }) => key === 'mapped' && outcome === 'resigned')) {
    terminal.print(
      'Signed by keys that follow the old ones: machines must know the new ones already.',
      'bold',
    );
  }
  const count = (wanted: ResignRow['outcome']) => rows.filter(({ outcome }) => outcome === wanted).length;
  const summary = (['resigned', 'countersigned', 'kept', 'withdrawn', 'quarantined', 'refused'] as const)
    .map((outcome) => [outcome, count(outcome)] as const)
    .filter(([, number]) => number > 0)
    .map(([outcome, number]) => `${number} ${outcome}`)
    .join(', ');
  if (stopped) {
    terminal.refused(`STOPPED: ${stopped.message} ${left} releases are left; the same command goes on.`);
    return statusOf(stopped);
  }
  if (bad.length === 0) {
    terminal.print(`${summary || 'no releases'}.`, 'good');
    return EXIT.ok;
  }
  terminal.refused(`REFUSED: ${summary}.`);
  return EXIT.refused;
}

function outcomeCell({ outcome, held }: ResignRow): Cell {
  if (outcome === 'quarantined') return { text: held ? 'quarantined, held' : 'quarantined', style: 'bad' };
  if (outcome === 'refused') return { text: 'refused', style: 'bad' };
  if (outcome === 'withdrawn') return { text: 'withdrawn', style: 'dim' };
  return { text: outcome, style: 'good' };
}

function whatOf({ refusal, changes, channels, note }: ResignRow): string {
  if (refusal) return `${refusal.message} [${refusal.code}]`;
  const files = changes.length > 0 ? [`${changes.length} files`] : [];
  const moved = changes.length > 0 && channels.length > 0 ? [`channel ${channels.join(', ')}`] : [];
  return [...files, ...moved, ...(note === undefined ? [] : [note])].join('; ');
}

function rowJson({ refusal, ...row }: ResignRow): object {
  return { ...row, refusal: refusal?.toJSON() };
}
