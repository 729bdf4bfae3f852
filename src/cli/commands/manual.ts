import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { writeFileAtomically } from '../../files/atomic-file.ts';
import { makeFolders } from '../../files/make-folders.ts';
import { act, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { sourceDateEpoch } from '../layout-options.ts';
import { manPages } from '../manual/man-page.ts';
import { outlineOf } from '../manual/outline.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options {
  readonly out?: string;
}

/** @param whole the program with all its commands. */
export function manualCommand(whole: () => Promise<Command>): Command {
  return newCommand('manual', SUMMARIES.manual, 'bootseal manual serve | man -l -')
    .argument('[command]', 'whose; default: that of Bootseal as a whole')
    .option('--out <dir>', 'write every page into this folder, as packages need them')
    .action(
      act<Options>(async ({ terminal, now }, { out }, command) => {
        const program = await whole();
        const pages = manPages(outlineOf(program), {
          version: program.version() ?? '',
          issued: sourceDateEpoch() ?? now,
        });
        if (out !== undefined) {
          if (command !== undefined)
            throw new UsageError('--out writes every page: name no command with it.');
          await makeFolders(out);
          const files = pages.map((page) => ({ path: join(out, `${page.name}.1`), lines: page.lines }));
          for (const { path, lines } of files)
            await writeFileAtomically(path, Buffer.from(`${lines.join('\n')}\n`));
          terminal.json({ pages: files.map(({ path }) => path) });
          for (const { path } of files) terminal.print(path);
          return EXIT.ok;
        }
        const name = command === undefined ? 'bootseal' : `bootseal-${command}`;
        const page = pages.find((one) => one.name === name);
        if (page === undefined)
          throw new UsageError(
            `There is no command ${JSON.stringify(command)}; "bootseal --help" names all.`,
          );
        terminal.json(page);
        for (const line of page.lines) terminal.print(line);
        return EXIT.ok;
      }),
    );
}
