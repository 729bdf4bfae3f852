import { isIPv6 } from 'node:net';
import type { Command } from 'commander';
import { TOOLS, type Tool } from '../../build/overlay-tools.ts';
import { UsageError } from '../../errors/usage.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import {
  isHost,
  REQUIRED_CHECKS,
  type RequiredCheck,
  ROOT_MODES,
  type RootMode,
} from '../../formats/records/policy-floor.ts';
import { demandIssued } from '../../operations/demand-terms.ts';
import { act, file, folder, newCommand, time } from '../context.ts';
import { EXIT } from '../exit.ts';
import { sourceDateEpoch } from '../layout-options.ts';
import { SUMMARIES } from '../summaries.ts';
import { octets } from '../terminal.ts';

interface Options {
  readonly anchors: string;
  readonly out: string;
  readonly tools?: string;
  readonly arch?: string;
  readonly with?: readonly string[];
  readonly modules?: string;
  readonly kernel?: string;
  readonly drivers?: readonly string[];
  readonly policy?: string;
  readonly name?: string;
  readonly minSerial?: string;
  readonly graceDays?: string;
  readonly require?: readonly string[];
  readonly mode?: string;
  readonly fallback?: string;
  readonly handOver?: boolean;
  readonly issued?: number;
  readonly ntp?: string;
}

export function overlayCommand(): Command {
  return newCommand(
    'overlay',
    SUMMARIES.overlay,
    'bootseal overlay --anchors keys/anchors --modules rootfs.sfs --min-serial 2026110100 --out bootseal-overlay.img',
  )
    .requiredOption('--anchors <dir>', 'what the machine shall trust', folder)
    .requiredOption('--out <file>', 'where the archive goes')
    .option('--tools <dir|host>', 'a root below which the tools lie; default: host, this machine', toolsRoot)
    .option(
      '--arch <name>',
      'whose machines it is for, as "uname -m" says it there; default: whose tools they are',
    )
    .option(
      '--with <tools...>',
      `further tools: ${TOOLS.join(', ')}; curl where the server has a name or https`,
    )
    .option(
      '--modules <dir|image>',
      'a root with lib/modules, or an image of one; default: what the kernel has',
    )
    .option('--kernel <version>', 'the kernel’s version, where there are several')
    .option('--drivers <names...>', 'modules of network cards beyond the usual ones')
    .option('--policy <file>', 'a policy floor; the following options win over it', file)
    .option('--name <name>', 'boot releases of this name only')
    .option('--min-serial <n>', 'refuse releases with a lower serial')
    .option('--grace-days <n>', 'days after best-before during which a release still boots')
    .option(
      '--issued <time>',
      'the date of issue, below which the machine’s clock is raised; default: SOURCE_DATE_EPOCH, the policy’s, that of the same overlay at --out, now',
      time,
    )
    .option('--ntp <host>', 'a time server to ask; it moves the clock forward only, at most to best-before')
    .option('--require <checks...>', `checks beyond the manifest: ${REQUIRED_CHECKS.slice(1).join(', ')}`)
    .option(
      '--mode <mode>',
      'verity: NBD, dm-verity; ram: one download; default: verity where the modules allow',
    )
    .option('--fallback <mode>', 'ram: download the root where a machine’s kernel lacks nbd or dm-verity')
    .option('--hand-over', 'go on to the initramfs’ own /init, which enters the verified root')
    .action(
      act<Options>(async ({ terminal, now }, options) => {
        const { overlay } = await import('../../build/overlay.ts');
        const { anchors, out, modules, kernel, drivers, policy, tools, arch } = options;
        const floorWords = floorOf(options);
        demandIssued(floorWords.issued, now);
        const built = await overlay({
          now,
          anchors,
          out,
          ...(tools === undefined ? {} : { tools }),
          ...(arch === undefined ? {} : { arch }),
          ...(options.with ? { with: options.with.map((word) => oneOf('--with', TOOLS, word)) } : {}),
          ...(modules === undefined ? {} : { modules }),
          ...(kernel === undefined ? {} : { kernel }),
          ...(drivers ? { drivers } : {}),
          ...(policy === undefined ? {} : { policy }),
          floor: floorWords,
        });
        const { floor, sizes } = built;
        terminal.json({ ...built, floor: { ...floor, issued: isoSeconds(floor.issued ?? now) } });
        terminal.table(
          ['what', 'size', ''],
          [
            [
              { text: 'tools' },
              { text: octets(sizes.tools) },
              { text: `${built.tools.join(' ')} (${built.arch})`, style: 'dim' },
            ],
            [
              { text: 'modules' },
              { text: octets(sizes.modules) },
              {
                text: built.kernel === undefined ? 'none' : `${built.modules.length} of ${built.kernel}`,
                style: 'dim',
              },
            ],
          ],
        );
        terminal.print();
        terminal.print(
          `${out}: ${octets(built.size)}, mode ${floor.mode}${floor.fallback ? ` or ${floor.fallback}` : ''}${floor.handOver ? ', hands over' : ''}${floor.ntp === undefined ? '' : `, asks ${floor.ntp} for the time`}, issued ${isoSeconds(floor.issued ?? now)}, minimum serial ${floor.minSerial}, requires ${floor.require.join(', ')}.`,
          'good',
        );
        return EXIT.ok;
      }),
    );
}

function floorOf(options: Options) {
  const { name, minSerial, graceDays, require, mode, fallback, handOver, ntp } = options;
  const issued = options.issued ?? sourceDateEpoch();
  return {
    ...(issued === undefined ? {} : { issued }),
    ...(ntp === undefined ? {} : { ntp: host(ntp) }),
    ...(name === undefined ? {} : { name }),
    ...(minSerial === undefined ? {} : { minSerial: wholeNumber('--min-serial', minSerial) }),
    ...(graceDays === undefined ? {} : { graceDays: wholeNumber('--grace-days', graceDays) }),
    ...(require ? { require: checks(require) } : {}),
    ...(mode === undefined ? {} : { mode: oneOf<RootMode>('--mode', ROOT_MODES, mode) }),
    ...(fallback === undefined ? {} : { fallback: oneOf<'ram'>('--fallback', ['ram'], fallback) }),
    ...(handOver ? { handOver } : {}),
  };
}

function host(text: string): string {
  // The floor itself is not so strict: its shell knows characters, and a server that is not there.
  if (!isHost(text) || (text.includes(':') && !isIPv6(text)))
    throw new UsageError(`--ntp ${text} is no host: name one, or give its address, without a port.`);
  return text;
}

function toolsRoot(text: string): string {
  return text === 'host' ? '/' : folder(text);
}

/** In the order in which a floor names them. */
function checks(words: readonly string[]): readonly RequiredCheck[] {
  const asked = words.map((word) => oneOf<RequiredCheck>('--require', REQUIRED_CHECKS, word));
  return REQUIRED_CHECKS.filter((check) => asked.includes(check));
}

function oneOf<T extends Tool | RequiredCheck | RootMode>(
  flag: string,
  words: readonly T[],
  word: string,
): T {
  const found = words.find((candidate) => candidate === word);
  if (found === undefined) throw new UsageError(`${flag} ${word}: one of ${words.join(', ')}.`);
  return found;
}

function wholeNumber(flag: string, text: string): number {
  if (!/^(0|[1-9][0-9]{0,14})$/.test(text)) throw new UsageError(`${flag} ${text} is no whole number.`);
  return Number(text);
}
