import type { Command } from 'commander';
import { isoSeconds } from '../../formats/lines.ts';
import { seal } from '../../verbs/seal.ts';
import { serverAddress } from '../../verbs/server-address.ts';
import { act, folder, folders, newCommand, time, understood } from '../context.ts';
import { EXIT, UsageError } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { octets } from '../terminal.ts';

interface Options {
  readonly keys: string;
  readonly alsoKeys?: readonly string[];
  readonly release?: string;
  readonly kernel?: string;
  readonly initrd?: readonly string[];
  readonly rootfs?: string;
  readonly cmdline?: string;
  readonly url?: string;
  readonly serial?: string;
  readonly issued?: number;
}

export function sealCommand(): Command {
  return newCommand(
    'seal',
    'seal a tree of boot files: every signature, in one pass',
    'bootseal seal out/netboot --keys keys',
  )
    .argument('<tree>', 'an Arch netboot tree, or one with a bootseal.toml', folder)
    .requiredOption('--keys <dir>', 'the folder that "bootseal init" made', folder)
    .option(
      '--also-keys <dir>',
      'such a folder with another CA, whose loaders shall start this release too; may be repeated',
      folders,
    )
    .option('--release <name/version>', 'which release this is, where the tree does not say')
    .option('--kernel <path>', 'in the tree, where it is no Arch tree')
    .option('--initrd <paths...>', 'in load order')
    .option('--rootfs <path>', 'the root image')
    .option('--cmdline <words>', 'fixed words of the kernel command line')
    .option(
      '--url <url>',
      'a literal server for the scripts; default: the one DHCP names, port 8080',
      understood(serverAddress),
    )
    .option('--serial <n>', 'a growing number, where the version begins with no date')
    .option(
      '--issued <time>',
      'the only clock in any output; default: SOURCE_DATE_EPOCH, the existing manifest’s, now',
      time,
    )
    .action(
      act<Options>(async ({ terminal, now }, options, tree = '') => {
        const { keys, alsoKeys, initrd, serial, issued = sourceDateEpoch(), ...rest } = options;
        let bar: { update(done: number): void; stop(): void } | undefined;
        const done = new Map<string, number>();
        const sealed = await interruptible((stop) =>
          seal({
            ...layoutOptions(rest),
            ...(rest.url === undefined ? {} : { url: rest.url }),
            ...(initrd ? { initrds: initrd } : {}),
            ...(serial === undefined ? {} : { serial: wholeNumber(serial) }),
            ...(issued === undefined ? {} : { issued }),
            ...(alsoKeys ? { alsoKeys } : {}),
            tree,
            keys,
            now,
            onLayout: ({ release, artifacts }) => {
              bar = terminal.progress(
                `sealing ${release}`,
                artifacts.reduce((sum, { size }) => sum + size, 0),
              );
            },
            onProgress: ({ path }, octetsRead) => {
              stop();
              done.set(path, octetsRead);
              bar?.update([...done.values()].reduce((sum, octets) => sum + octets, 0));
            },
          }),
        ).finally(() => bar?.stop());
        const { manifest, files, manifestSha256 } = sealed;
        terminal.json({ release: manifest.release, serial: manifest.serial, manifestSha256, files });
        terminal.table(
          ['role', 'file', 'size'],
          manifest.files.map(({ role, path, size }) => [
            { text: role, style: 'dim' },
            { text: path },
            { text: octets(size) },
          ]),
        );
        const written = files.filter(({ outcome }) => outcome === 'written').length;
        terminal.print();
        terminal.print(
          `${manifest.release}, serial ${manifest.serial}: ${written} files written, ${files.length - written} kept; best before ${isoSeconds(manifest.bestBefore)}.`,
          'good',
        );
        return EXIT.ok;
      }),
    );
}

function layoutOptions(options: Pick<Options, 'release' | 'kernel' | 'rootfs' | 'cmdline'>) {
  const { release, kernel, rootfs, cmdline } = options;
  return Object.fromEntries(
    Object.entries({ release, kernel, rootfs, cmdline }).filter(([, value]) => value !== undefined),
  ) as Pick<Options, 'release' | 'kernel' | 'rootfs' | 'cmdline'>;
}

function wholeNumber(text: string): number {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) throw new UsageError(`--serial ${text} is no whole number.`);
  return Number(text);
}

/** https://reproducible-builds.org/specs/source-date-epoch/ */
function sourceDateEpoch(): number | undefined {
  const text = process.env.SOURCE_DATE_EPOCH;
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,11}$/.test(text))
    throw new UsageError(`SOURCE_DATE_EPOCH is ${JSON.stringify(text)}, not seconds since 1970.`);
  return Number(text) * 1000;
}
