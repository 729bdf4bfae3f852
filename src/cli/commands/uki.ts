import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import { entryFolder } from '../../formats/records/entry-folder.ts';
import { UKI } from '../../formats/records/seal-names.ts';
import { ukiDnsmasqLines } from '../../operations/dnsmasq.ts';
import { serverAddress } from '../../scripts/server-address.ts';
import { accessOf } from '../../signing/keys/passphrase.ts';
import type { SecureBootKey } from '../../signing/keys/secure-boot-signers.ts';
import { act, file, folder, newCommand, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { programWords, SIGNER_COMMAND_HELP } from '../layout-options.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';
import { octets } from '../terminal.ts';

interface Options extends PassphraseWords {
  readonly keys?: string;
  readonly key?: string;
  readonly certificate?: string;
  readonly signerCommand?: readonly string[];
  readonly unsigned?: boolean;
  readonly url?: string;
  readonly stub?: string;
  readonly osrel?: string;
  readonly pcr?: string;
  readonly out?: string;
}

export function ukiCommand(): Command {
  const command = newCommand(
    'uki',
    SUMMARIES.uki,
    'bootseal uki out/netboot --keys keys --url http://10.0.0.1:8080',
  )
    .argument('<tree>', 'a sealed tree', folder)
    .option('--keys <dir>', 'the folder that "bootseal init --secure-boot" made', folder)
    .option('--key <file>', 'instead of --keys: a private key, PEM', file)
    .option('--certificate <file>', 'with --key: its certificate, which firmware holds in db, PEM', file)
    .option('--signer-command <words>', SIGNER_COMMAND_HELP, programWords)
    .option('--unsigned', 'sign nothing: for "bootseal request" and keys elsewhere')
    .option('--url <url>', 'where early userspace finds the server: it goes into the image', literal)
    .option('--stub <file>', 'systemd-stub; default: the one that is installed', file)
    .option('--osrel <file>', 'an os-release file; default: one made of the release’s name', file)
    .option('--pcr <dir>', 'a folder with a pcr.pub: the image names it as the key of its PCR values', folder)
    .option('--out <file>', `where it goes; default: ${UKI} in the tree, which "bootseal serve" serves`);
  return addPassphraseOption(command).action(
    act<Options>(async ({ terminal, now }, options, tree = '') => {
      const { uki } = await import('../../operations/uki.ts');
      const { readPcrPublicKey, readPcrSigner } = await import('../../signing/keys/secure-boot-signers.ts');
      const { url, stub, osrel, out, pcr } = options;
      const signer = signerOf(options);
      const passphrase = passphrases(options);
      const pcrPublicKey = pcr === undefined ? undefined : await readPcrPublicKey(pcr);
      if (pcr !== undefined && !pcrPublicKey) throw new UsageError(`--pcr ${pcr} holds no pcr.pub.`);
      const made = await interruptible(async (_, ended) => {
        const pcrSigner =
          pcr === undefined || options.unsigned
            ? undefined
            : await readPcrSigner(pcr, accessOf(passphrase ? { ended, passphrase } : { ended }));
        if (pcrPublicKey && signer && !pcrSigner)
          throw new UsageError(
            'PCR values are signed before the image is: where their key is elsewhere, use --unsigned.',
          );
        return uki({
          tree,
          now,
          ended,
          ...(passphrase ? { passphrase } : {}),
          ...(signer ? { signer } : {}),
          ...(url === undefined ? {} : { url }),
          ...(stub === undefined ? {} : { stub }),
          ...(osrel === undefined ? {} : { osrel }),
          ...(out === undefined ? {} : { out }),
          ...(pcrPublicKey ? { pcrPublicKey } : {}),
          ...(pcrSigner ? { pcrSigner } : {}),
        });
      });
      terminal.json(made);
      terminal.table(
        ['section', 'size'],
        made.sections.map(({ name, size }) => [{ text: name }, { text: octets(size) }]),
      );
      terminal.print();
      terminal.print(`command line: ${made.cmdline}`);
      terminal.print(`image digest: ${made.digest}`);
      terminal.print(
        made.signer === undefined
          ? `${made.out}: ${octets(made.size)}, not signed; firmware with Secure Boot refuses it.`
          : `${made.out}: ${octets(made.size)}, ${made.release}, signed by ${made.signer}.`,
        made.signer === undefined ? undefined : 'good',
      );
      if (made.signer !== undefined && url !== undefined && out === undefined) {
        const { hostname, port } = new URL(url);
        terminal.print();
        terminal.print('For dnsmasq:');
        for (const line of ukiDnsmasqLines(
          hostname,
          made.arch === 'x86_64' ? UKI : `${entryFolder(made.arch)}/${UKI}`,
          Number(port || 80),
          made.arch,
        ))
          terminal.print(line);
      }
      return EXIT.ok;
    }),
  );
}

function signerOf({ keys, key, certificate, signerCommand, unsigned }: Options): SecureBootKey | undefined {
  const ways = [keys, key ?? certificate, unsigned].filter((way) => way !== undefined);
  if (ways.length !== 1 || (key === undefined) !== (certificate === undefined)) {
    throw new UsageError('Say who signs: --keys DIR, or --key with --certificate, or --unsigned.');
  }
  if (signerCommand && keys === undefined) throw new UsageError('--signer-command goes with --keys.');
  if (keys !== undefined) return { keys, ...(signerCommand ? { signerCommand } : {}) };
  return key !== undefined && certificate !== undefined ? { key, certificate } : undefined;
}

function literal(text: string): string {
  understood(serverAddress)(text);
  if (text === '') throw new InvalidArgumentError('Write http://HOST:PORT.');
  return text;
}
