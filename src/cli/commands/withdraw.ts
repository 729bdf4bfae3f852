import type { Command } from 'commander';
import { isoSeconds } from '../../formats/records/lines.ts';
import { act, folder, newCommand, releaseId, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options {
  readonly state: string;
  readonly reason: string;
  readonly now?: boolean;
  readonly snapshotKey?: string;
}

export function withdrawCommand(): Command {
  return newCommand(
    'withdraw',
    SUMMARIES.withdraw,
    'bootseal withdraw arch/2026.11.01 --reason "kernel eats disks" --state /srv/bootseal',
  )
    .argument('<release>', 'NAME/VERSION', releaseId)
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .requiredOption('--reason <text>', 'one line, for whoever finds it refused')
    .option('--now', 'cut the root of machines that run it, too; else only new boots end')
    .option('--snapshot-key <dir>', 'what signs the log; default: a key of the state’s own', folder)
    .action(
      act<Options>(async ({ terminal, now }, options, release = '') => {
        const { withdrawRelease } = await import('../../publish/withdraw.ts');
        const { state, reason, now: cutRunning = false, snapshotKey } = options;
        const { withdrawal, changed, channels } = await withdrawRelease({
          state,
          release,
          reason,
          cutRunning,
          now,
          ...(snapshotKey === undefined ? {} : { snapshotKey }),
        });
        terminal.json({ ...withdrawal, time: isoSeconds(withdrawal.time), changed, channels });
        const what = withdrawal.now ? 'new boots end, and running roots' : 'new boots end';
        terminal.print(
          changed
            ? `${release} is withdrawn: ${what}.`
            : `${release} was withdrawn on ${isoSeconds(withdrawal.time)} already: ${withdrawal.reason}`,
          'good',
        );
        for (const channel of channels) {
          terminal.print(
            `${channel} still names it, and offers nothing until it moves: "bootseal publish", or "bootseal channel rollback ${channel} RELEASE".`,
            'bad',
          );
        }
        return EXIT.ok;
      }),
    );
}
