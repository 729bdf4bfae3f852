import type { Command } from 'commander';
import { createKeyFolder, demandSite } from '../../signing/keys/init.ts';
import { act, newCommand, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { noteOldDrafts } from '../old-drafts.ts';
import type { Terminal } from '../terminal.ts';

interface Options {
  readonly site: string;
  readonly ecdsa?: boolean;
  readonly secureBoot?: boolean;
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
    .option('--secure-boot', 'PK, KEK and db, too, with the files that enrol them in firmware')
    .action(
      act<Options>(async ({ terminal, now }, { site, ecdsa, secureBoot = false }, directory = '') => {
        await interruptible((stop) =>
          createKeyFolder(directory, {
            site,
            kind: ecdsa ? 'p256' : 'rsa',
            now,
            secureBoot,
            onStep: (what) => {
              stop();
              terminal.note(`making the ${what}`);
            },
            onOldDrafts: (drafts) => noteOldDrafts(terminal, drafts),
          }),
        );
        terminal.json({ keys: directory, site });
        terminal.print(`${directory}/anchors  public: build them into loaders and initramfs images`);
        terminal.print(`${directory}/private  secret: 0600; keep ca.key offline`);
        if (secureBoot) showEnrolment(terminal, directory);
        return EXIT.ok;
      }),
    );
}

/** What is to be done with the files, and what it costs: nobody should learn that at a machine that starts nothing. */
function showEnrolment(terminal: Terminal, directory: string): void {
  for (const line of [
    `${directory}/secure-boot  for firmware: enrol db, then KEK, then PK (.auth, or .cer in a setup screen)`,
    '',
    'In the setup of each machine: clear the Secure Boot keys ("setup mode"), enrol the three, switch Secure Boot on.',
    'PK comes last: with it the machine leaves setup mode, and from then on takes only what KEK signed.',
    'Such a machine starts nothing but what your db key signed. Windows, Debian’s shim and cards whose ROM Microsoft',
    'signed no longer start; to keep them, add their certificates to db (UEFI CA, and the vendor’s) instead of clearing.',
    'secure-boot/no-PK.auth takes PK out again. docs/secure-boot.md says all of this at length.',
  ]) {
    terminal.print(line);
  }
}
