import type { Command } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { demandSite } from '../../signing/keys/site-name.ts';
import { act, newCommand, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { noteOldDrafts } from '../old-drafts.ts';
import { addPassphraseOption, type PassphraseWords, passphrases, promptHidden } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Terminal } from '../terminal.ts';

interface Options extends PassphraseWords {
  readonly site: string;
  readonly ecdsa?: boolean;
  readonly issuingCa?: boolean;
  readonly secureBoot?: boolean;
}

export function initCommand(): Command {
  const command = newCommand('init', SUMMARIES.init, 'bootseal init keys --site school')
    .argument('<dir>', 'a folder that does not exist yet')
    .option('--site <name>', 'part of every certificate’s name', understood(demandSite), 'lan')
    .option('--ecdsa', 'certificates on P-256 instead of RSA (iPXE 2.0 and later)')
    .option('--issuing-ca', 'a root above the CA, whose key can then lie in a safe')
    .option('--secure-boot', 'PK, KEK and db, too, with the files that enrol them in firmware');
  return addPassphraseOption(command).action(
    act<Options>(async ({ terminal, now, json }, options, directory = '') => {
      const { createKeyFolder, demandNewKeyFolder } = await import('../../signing/keys/init.ts');
      const { site, ecdsa, issuingCa = false, secureBoot = false } = options;
      await demandNewKeyFolder(directory);
      const caPassphrase = await newPassphrase(options, json);
      await interruptible((stop) =>
        createKeyFolder(directory, {
          site,
          kind: ecdsa ? 'p256' : 'rsa',
          now,
          issuingCa,
          secureBoot,
          ...(caPassphrase === undefined ? {} : { caPassphrase }),
          onStep: (what) => {
            stop();
            terminal.note(`making the ${what}`);
          },
          onOldDrafts: (drafts) => noteOldDrafts(terminal, drafts),
        }),
      );
      terminal.json({ keys: directory, site, passphrase: caPassphrase !== undefined });
      terminal.print(`${directory}/anchors  public: build them into loaders and initramfs images`);
      terminal.print(`${directory}/private  secret: 0600; docs/keys.md says which key is needed where`);
      terminal.print(
        issuingCa
          ? `${directory}/private/root.key  signs nothing but a new CA: put it into a safe, and take it from here`
          : `${directory}/private/ca.key  is needed wherever releases are sealed; "init --issuing-ca" puts a root above it`,
      );
      terminal.print(
        caPassphrase === undefined
          ? 'No key has a passphrase: the file modes alone protect them.'
          : 'The CA’s key has a passphrase; without it nothing can be sealed, and nobody can restore it.',
      );
      if (secureBoot) showEnrolment(terminal, directory);
      return EXIT.ok;
    }),
  );
}

/** Offered on a terminal, taken from a descriptor; elsewhere the keys have none. */
async function newPassphrase(words: PassphraseWords, json: boolean): Promise<string | undefined> {
  if (words.passphraseFd !== undefined) return passphrases(words)?.('ca.key', 1);
  if (json || !process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  const first = await promptHidden('Passphrase for the CA’s key (empty: none): ');
  if (first === undefined) throw new UsageError('Nothing was made.');
  if (first === '') return undefined;
  if ((await promptHidden('Once more: ')) === first) return first;
  throw new UsageError('The two passphrases differ; nothing was made.');
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
