import { type Command, InvalidArgumentError } from 'commander';
import { isoSeconds } from '../../formats/records/lines.ts';
import { COLLECT_AFTER } from '../../store/collect-after.ts';
import type { UnusedObject } from '../../store/collect-marks.ts';
import type { UnusedBatch } from '../../store/collect-scripts.ts';
import { act, file, folder, newCommand, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import { octets } from '../terminal.ts';
import { watchCommand } from './state-watch.ts';

interface CollectOptions {
  readonly state: string;
  readonly dryRun?: boolean;
}

interface RestoreOptions {
  readonly state: string;
  readonly after: number;
  readonly checkpoint: string;
  readonly snapshotKey?: string;
}

const EXAMPLE = 'bootseal state';

export function stateCommand(): Command {
  return newCommand('state', SUMMARIES.state, `${EXAMPLE} collect --state /srv/bootseal --dry-run`)
    .addCommand(collectCommand())
    .addCommand(watchCommand())
    .addCommand(restoreCommand());
}

function collectCommand(): Command {
  return newCommand(
    'collect',
    'free what no release refers to: marked by one run, deleted by one seven days later',
    `${EXAMPLE} collect --state /srv/bootseal`,
  )
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .option('--dry-run', 'say what would be marked and deleted, and change nothing')
    .action(
      act<CollectOptions>(async ({ terminal, now }, { state, dryRun = false }) => {
        const { collectObjects } = await import('../../store/collect.ts');
        const { collectScripts } = await import('../../store/collect-scripts.ts');
        const found = await collectObjects({ state, dryRun, now });
        const { marked, waiting, open, deleted } = found;
        const former = await collectScripts({ state, dryRun, now });
        const batches = (some: readonly UnusedBatch[]) =>
          some.map(({ since, ...batch }) => ({ ...batch, since: isoSeconds(since) }));
        const json = (objects: readonly UnusedObject[]) =>
          objects.map(({ since, ...object }) => ({ ...object, since: isoSeconds(since) }));
        terminal.json({
          dryRun,
          marked: json(marked),
          waiting: json(waiting),
          open: json(open),
          deleted: json(deleted),
          batches: {
            marked: batches(former.marked),
            waiting: batches(former.waiting),
            deleted: batches(former.deleted),
            scripts: former.scripts,
          },
        });
        const would = dryRun ? 'would be ' : '';
        terminal.table(
          ['objects', 'number', 'size', ''],
          [
            row(`${would}deleted`, deleted, ''),
            row(
              `${would}marked`,
              marked,
              `nothing refers to them; they may go in ${days(COLLECT_AFTER)} days`,
            ),
            row('marked before', waiting, waitingUntil(waiting)),
            row('still open', open, 'a process has them open: a machine may run on them'),
          ],
        );
        const told = former.marked.length + former.waiting.length;
        if (told > 0)
          terminal.print(
            `Scripts for machines of ${told} former snapshots: no channel names them, and they may go in ${days(COLLECT_AFTER)} days or sooner.`,
            'dim',
          );
        if (former.deleted.length > 0)
          terminal.print(
            `${former.scripts} scripts of ${former.deleted.length} former snapshots ${would}deleted.`,
          );
        return EXIT.ok;
      }),
    );
}

function row(what: string, objects: readonly UnusedObject[], why: string) {
  const size = objects.reduce((sum, object) => sum + object.size, 0);
  return [
    { text: what },
    { text: String(objects.length) },
    { text: octets(size) },
    { text: objects.length > 0 ? why : '', style: 'dim' as const },
  ];
}

function waitingUntil(objects: readonly UnusedObject[]): string {
  const first = Math.min(...objects.map(({ since }) => since));
  return objects.length > 0 ? `the first may go on ${isoSeconds(first + COLLECT_AFTER).slice(0, 10)}` : '';
}

function days(time: number): number {
  return time / 86_400_000;
}

function restoreCommand(): Command {
  return newCommand(
    'restore',
    'let a state that was put back from a backup go on above what others have seen of it',
    `${EXAMPLE} restore --after 41 --checkpoint kept-checkpoint --state /srv/bootseal`,
  )
    .requiredOption('--state <dir>', 'as the backup has it', stateAt)
    .requiredOption('--after <counter>', 'the highest counter of a snapshot that anybody saw', counter)
    .requiredOption('--checkpoint <file>', 'the newest checkpoint of its log that anybody kept', file)
    .option('--snapshot-key <dir>', 'what signs the log; default: a key of the state’s own', folder)
    .action(
      act<RestoreOptions>(async ({ terminal, now }, { state, after, checkpoint, snapshotKey }) => {
        const { restoreState } = await import('../../operations/restore-state.ts');
        const { seen, lost, size, changed } = await restoreState({
          state,
          after,
          checkpoint,
          now,
          ...(snapshotKey === undefined ? {} : { snapshotKey }),
        });
        terminal.json({ after, seen: { ...seen, time: isoSeconds(seen.time) }, lost, size, changed });
        terminal.print(`Snapshots go on with ${after + 1} or higher.`, 'good');
        terminal.print(
          changed
            ? `The log has ${size} entries; ${lost} that others saw are lost, and it says so.`
            : `The log has ${size} entries, and says already that it was restored.`,
        );
        return EXIT.ok;
      }),
    );
}

function counter(text: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text))
    throw new InvalidArgumentError('A counter is a whole number from 1 on.');
  return Number(text);
}
