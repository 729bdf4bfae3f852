import { type Command, InvalidArgumentError } from 'commander';
import { MOST_DAYS } from '../../signing/keys/delegate-days.ts';
import { accessOf } from '../../signing/keys/passphrase.ts';
import { act, folder, newCommand, time } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { noteOldDrafts } from '../old-drafts.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';

interface Options extends PassphraseWords {
  readonly days: number;
  readonly from?: number;
  readonly out: string;
}

export function delegateCommand(): Command {
  const command = newCommand(
    'delegate',
    'issue a boot leaf for each of the days ahead, so that the CA is not needed on any of them',
    'bootseal keys delegate keys --days 30 --out delegated',
  )
    .argument('<dir>', 'the folder that "bootseal init" made, with the key of the CA', folder)
    .requiredOption('--days <n>', `how many, 1 to ${MOST_DAYS}; each leaf ends with its day (UTC)`, count)
    .option('--from <time>', 'the first day; default: today', time)
    .requiredOption('--out <dir>', 'gets a folder for each day; one that is there is left as it is');
  return addPassphraseOption(command).action(
    act<Options>(async ({ terminal, now }, options, keys = '') => {
      const { delegateBootLeaves } = await import('../../signing/keys/delegate.ts');
      const { days, from = now, out } = options;
      const passphrase = passphrases(options);
      const bar = terminal.progress('issuing boot leaves', days, String);
      const { commonName, made, kept } = await interruptible((stop, ended) =>
        delegateBootLeaves({
          ...accessOf(passphrase ? { ended, passphrase } : { ended }),
          keys,
          out,
          days,
          from,
          now,
          onDay: (done) => {
            stop();
            bar.update(done);
          },
          onOldDrafts: (drafts) => noteOldDrafts(terminal, drafts),
        }),
      ).finally(() => bar.stop());
      terminal.json({ out, commonName, made, kept });
      const [first] = [...made, ...kept].sort();
      terminal.print(
        `${out}: boot leaves of ${commonName}: ${made.length} made, ${kept.length} were there, the first for ${first}.`,
        'good',
      );
      terminal.print('Whoever steals them signs scripts on each day that is left: give out few at a time.');
      return EXIT.ok;
    }),
  );
}

function count(text: string): number {
  if (!/^[1-9][0-9]{0,3}$/.test(text) || Number(text) > MOST_DAYS)
    throw new InvalidArgumentError(`Days are a whole number from 1 to ${MOST_DAYS}.`);
  return Number(text);
}
