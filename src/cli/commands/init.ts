import type { Command } from 'commander';
import { demandSite, init } from '../../verbs/init.ts';
import { act, newCommand, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';

interface Options {
  readonly site: string;
  readonly ecdsa?: boolean;
}

export function initCommand(): Command {
  return newCommand(
    'init',
    'make a site’s keys: a CA, its leaves, an OpenPGP key',
    'bootseal init keys --site school',
  )
    .argument('<dir>', 'a folder that does not exist yet')
    .option('--site <name>', 'part of every certificate’s name', understood(demandSite), 'lan')
    .option('--ecdsa', 'certificates on P-256 instead of RSA (iPXE 2.0 and later)')
    .action(
      act<Options>(async ({ terminal, now }, { site, ecdsa }, directory = '') => {
        await interruptible((stop) =>
          init(directory, {
            site,
            kind: ecdsa ? 'p256' : 'rsa',
            now,
            onStep: (what) => {
              stop();
              terminal.note(`making the ${what}`);
            },
          }),
        );
        terminal.json({ keys: directory, site });
        terminal.print(`${directory}/anchors  public: build them into loaders and initramfs images`);
        terminal.print(`${directory}/private  secret: 0600; keep ca.key offline`);
        return EXIT.ok;
      }),
    );
}
