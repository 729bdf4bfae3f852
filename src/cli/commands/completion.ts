import { Argument, type Command } from 'commander';
import { act, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { bashCompletion } from '../manual/completion-bash.ts';
import { fishCompletion } from '../manual/completion-fish.ts';
import { zshCompletion } from '../manual/completion-zsh.ts';
import { type CommandOutline, outlineOf } from '../manual/outline.ts';
import { SUMMARIES } from '../summaries.ts';

const SHELLS: Readonly<Record<string, (program: CommandOutline) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** @param whole the program with all its commands. */
export function completionCommand(whole: () => Promise<Command>): Command {
  return newCommand(
    'completion',
    SUMMARIES.completion,
    'bootseal completion bash > /etc/bash_completion.d/bootseal',
  )
    .addArgument(new Argument('<shell>', 'whose language').choices(Object.keys(SHELLS)))
    .action(
      act<object>(async ({ terminal }, _options, shell = '') => {
        const script = SHELLS[shell]?.(outlineOf(await whole())) ?? '';
        terminal.json({ shell, script });
        for (const line of script.trimEnd().split('\n')) terminal.print(line);
        return EXIT.ok;
      }),
    );
}
