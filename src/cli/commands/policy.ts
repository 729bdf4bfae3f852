import type { Command } from 'commander';
import { act, file, folder, newCommand, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options {
  readonly state: string;
  readonly snapshotKey?: string;
}

const EXAMPLE = 'bootseal policy';

export function policyCommand(): Command {
  return newCommand('policy', SUMMARIES.policy, `${EXAMPLE} set policy.toml --state /srv/bootseal`)
    .addCommand(setCommand())
    .addCommand(showCommand());
}

function setCommand(): Command {
  return newCommand(
    'set',
    'make a file the policy of a state; logged, and followed by a running server',
    `${EXAMPLE} set policy.toml --state /srv/bootseal`,
  )
    .argument('<file>', 'dates, pins, revocations and gate rules (TOML)', file)
    .requiredOption('--state <dir>', 'where releases and channels live; made where it does not exist')
    .option('--snapshot-key <dir>', 'signs the log; default: the state’s own key', folder)
    .action(
      act<Options>(async ({ terminal, now }, { state, snapshotKey }, policy = '') => {
        const { setPolicy } = await import('../../publish/policy.ts');
        const given = snapshotKey === undefined ? {} : { snapshotKey };
        const changed = await setPolicy({ state, policy, now, ...given });
        terminal.json({ state, changed });
        terminal.print(
          changed
            ? `${state} is judged by ${policy} from now on.`
            : `${state} is judged by that policy already; nothing changed.`,
          'good',
        );
        return EXIT.ok;
      }),
    );
}

function showCommand(): Command {
  return newCommand('show', 'the policy of a state', `${EXAMPLE} show --state /srv/bootseal`)
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .action(
      act<Options>(async ({ terminal }, { state }) => {
        const { showPolicy } = await import('../../publish/policy.ts');
        const policy = await showPolicy(state);
        terminal.json({ state, policy: policy ?? null });
        if (policy === undefined) terminal.print('The default policy: docs/policy.md says what it holds.');
        else for (const line of policy.trimEnd().split('\n')) terminal.print(line);
        return EXIT.ok;
      }),
    );
}
