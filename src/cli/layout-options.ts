import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from '../errors/usage.ts';
import type { Artifact, Layout } from '../release/layout.ts';
import { serverAddress } from '../scripts/server-address.ts';
import { releaseId, time, understood } from './context.ts';
import type { Terminal } from './terminal.ts';

/** Options of the commands that read a tree of boot files: what it is, and what its seals shall say. */

export interface LayoutWords {
  readonly release?: string;
  readonly kernel?: string;
  readonly module?: string;
  readonly initrd?: readonly string[];
  readonly rootfs?: string;
  readonly cmdline?: string;
  readonly moduleCmdline?: string;
  readonly layout?: string;
  readonly free?: readonly string[];
  readonly pack?: readonly string[];
  readonly addInitrd?: readonly string[];
  readonly arch?: string;
}

export interface TermWords {
  readonly url?: string;
  readonly serial?: string;
  readonly issued?: number;
}

export function addLayoutOptions(command: Command): Command {
  return command
    .option('--release <name/version>', 'which release this is, where the tree does not say', releaseId)
    .option(
      '--arch <name>',
      'whose machines it is for, as "uname -m" says it there; default: the tree’s, x86_64',
    )
    .option('--kernel <path>', 'in the tree, where its layout does not say')
    .option('--module <path>', 'the Linux that the kernel starts, where that is Xen; docs/xen.md')
    .option('--initrd <paths...>', 'in load order')
    .option('--add-initrd <paths...>', 'behind those that the tree has, as one that "bootseal pack" made')
    .option('--rootfs <path>', 'the root image')
    .option('--cmdline <words>', 'fixed words of the kernel command line')
    .option('--module-cmdline <words>', 'those of the module')
    .option('--free <name-type...>', 'what loaders may add to them, as "ip dhcp" (quoted); none: --free ""')
    .option(
      '--pack <paths...>',
      'files or folders of the tree for an initrd that the loader verifies: PATH, or PATH=PATH-IN-THE-INITRD',
    )
    .option(
      '--layout <name>',
      'what kind of system it is: words that open a shell depend on it; docs/trees.md',
    );
}

/** What was sealed that nobody wrote down. */
export function noteAdded(terminal: Terminal, { notes }: Layout): void {
  for (const note of notes) terminal.note(note);
}

/** A payload of a shape that nobody expects is sealed, and said: most often it is the wrong file. */
export function noteUnlike(terminal: Terminal): (artifact: Artifact, what: string) => void {
  return ({ path, role }, what) =>
    terminal.note(`Warning: ${path} is sealed as ${role}, and is not ${what}.`);
}

export function addTermOptions(command: Command): Command {
  return command
    .option(
      '--url <url>',
      'a literal server for the scripts; default: the one DHCP names, port 8080',
      understood(serverAddress),
    )
    .option('--serial <n>', 'a growing number, where the version begins with no date')
    .option(
      '--issued <time>',
      'the date of issue, the only time in any output; default: SOURCE_DATE_EPOCH, the existing manifest’s, now',
      time,
    );
}

export function layoutOf(words: LayoutWords) {
  const { release, kernel, module, initrd, rootfs, cmdline, moduleCmdline, layout, free, pack, arch } = words;
  return {
    ...(release === undefined ? {} : { release }),
    ...(kernel === undefined ? {} : { kernel }),
    ...(module === undefined ? {} : { module }),
    ...(initrd ? { initrds: initrd } : {}),
    ...(rootfs === undefined ? {} : { rootfs }),
    ...(cmdline === undefined ? {} : { cmdline }),
    ...(moduleCmdline === undefined ? {} : { moduleCmdline }),
    ...(layout === undefined ? {} : { layout }),
    // Nothing shall be free: an empty word says so.
    ...(free === undefined ? {} : { free: free.filter((text) => text !== '') }),
    ...(pack === undefined ? {} : { pack }),
    ...(words.addInitrd === undefined ? {} : { addInitrds: words.addInitrd }),
    ...(arch === undefined ? {} : { arch }),
  };
}

export function termsOf({ url, serial, issued = sourceDateEpoch() }: TermWords) {
  return {
    ...(url === undefined ? {} : { url }),
    ...(serial === undefined ? {} : { serial: wholeNumber(serial) }),
    ...(issued === undefined ? {} : { issued }),
  };
}

function wholeNumber(text: string): number {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) throw new UsageError(`--serial ${text} is no whole number.`);
  return Number(text);
}

/** https://reproducible-builds.org/specs/source-date-epoch/ */
export function sourceDateEpoch(): number | undefined {
  const text = process.env.SOURCE_DATE_EPOCH;
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,11}$/.test(text))
    throw new UsageError(`SOURCE_DATE_EPOCH is ${JSON.stringify(text)}, not seconds since 1970.`);
  return Number(text) * 1000;
}

export const SIGNER_COMMAND_HELP =
  'a program that signs for all of these keys: digest on its input, signature on its output; docs/signers.md';

/** A program and its arguments, between blanks; no shell looks at them. */
export function programWords(text: string): readonly string[] {
  const words = text.split(' ').filter((word) => word !== '');
  if (words.length === 0) throw new InvalidArgumentError('Name a program.');
  return words;
}
