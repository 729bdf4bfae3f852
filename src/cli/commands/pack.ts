import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { PackSource } from '../../build/pack.ts';
import { UsageError } from '../../errors/usage.ts';
import { isSafePath } from '../../formats/records/safe-path.ts';
import { act, found, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { SUMMARIES } from '../summaries.ts';
import { octets } from '../terminal.ts';

interface Options {
  readonly out: string;
  readonly asInitrd?: boolean;
}

export function packCommand(): Command {
  return newCommand(
    'pack',
    SUMMARIES.pack,
    'bootseal pack preseed.cfg --as-initrd --out out/debian/preseed.img',
  )
    .argument('<paths...>', 'a file, to lie at the top; a folder, whose content lies there; PATH=PATH-IN-IT')
    .requiredOption('--out <file>', 'where the archive goes')
    .option('--as-initrd', 'as a newc archive, which is the only form there is')
    .action(
      act<Options>(async ({ terminal }, { out }, ...words) => {
        const { planArchive } = await import('../../build/pack.ts');
        const { writeOutput } = await import('../../release/write-output.ts');
        const [paths] = words as unknown as [readonly string[]];
        const sources = paths.map(sourceOf);
        const own = sources.find(({ tree, from }) => `${resolve(out)}/`.startsWith(`${join(tree, from)}/`));
        if (own) throw new UsageError(`${out} is part of what is packed; write the archive elsewhere.`);
        const archive = await planArchive(sources);
        const bar = terminal.progress(`packing ${out}`, archive.size);
        await writeOutput(
          out,
          archive.content((done) => bar.update(done)),
        ).finally(() => bar.stop());
        terminal.json({ out, size: archive.size });
        terminal.print(
          `Wrote ${out}, ${octets(archive.size)}: name it with --add-initrd where its tree is sealed.`,
          'good',
        );
        terminal.note(
          'While a machine unpacks it, archive and copy take memory at once: twice that. A large one needs rootfstype=ramfs on the command line.',
        );
        return EXIT.ok;
      }),
    );
}

/** A file may have an equals sign in its name. */
function sourceOf(text: string): PackSource {
  const at = found(text) ? -1 : text.lastIndexOf('=');
  const path = resolve(at < 0 ? text : text.slice(0, at));
  const place = at < 0 ? undefined : text.slice(at + 1).replace(/^\//, '');
  if (place !== undefined && !isSafePath(place))
    throw new UsageError(`${JSON.stringify(place)} is no place in an initrd.`);
  return { tree: dirname(path), from: basename(path), ...(place === undefined ? {} : { at: place }) };
}
