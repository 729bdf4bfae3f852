import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { writeFileAtomically } from '../../files/atomic-file.ts';
import { lstatIfThere } from '../../files/read-if-there.ts';
import { act, newCommand, stateAt } from '../context.ts';
import { EXIT } from '../exit.ts';
import { writeToOutput } from '../output.ts';
import { SUMMARIES } from '../summaries.ts';
import { octets } from '../terminal.ts';

interface Options {
  readonly state: string;
  readonly force?: boolean;
}

export function exportCommand(): Command {
  return newCommand('export', SUMMARIES.export, 'bootseal export stable stable.bundle --state /srv/bootseal')
    .argument('<what>', 'a channel, or a release as NAME/VERSION')
    .argument('<file>', 'where the bundle goes; - for standard output')
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .option('--force', 'replace a file of that name')
    .action(
      act<Options>(async ({ terminal, now, json }, { state, force = false }, what = '', file = '') => {
        const { exportBundle } = await import('../../mirrors/export.ts');
        const isPipe = file === '-';
        if (isPipe && json) throw new UsageError('Standard output takes the bundle or the object of --json.');
        // Before gigabytes are read; whoever comes in between is found at the end.
        if (!isPipe && !force && (await lstatIfThere(file)))
          throw new UsageError(`${file} exists already and is not replaced; --force does.`);
        const bundle = await exportBundle({ state, what, now });
        const { channel, releases, size } = bundle;
        const bar = terminal.progress(`exporting ${what}`, size);
        const pieces = counted(bundle.pieces(), (done) => bar.update(done));
        await (isPipe
          ? writeToOutput(pieces)
          : writeFileAtomically(file, pieces, { exclusive: !force })
        ).finally(() => bar.stop());
        if (isPipe) return EXIT.ok;
        terminal.json({ file, channel, releases, size });
        terminal.print(
          `${file}: ${octets(size)}, ${[channel, ...releases].filter(Boolean).join(', ')}.`,
          'good',
        );
        terminal.note('Whoever takes it in verifies all of it: "bootseal import".');
        return EXIT.ok;
      }),
    );
}

async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  onProgress: (done: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of pieces) {
    yield piece;
    done += piece.length;
    onProgress(done);
  }
}
