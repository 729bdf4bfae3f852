import { Malformed } from '../errors/malformed.ts';
import { isCommandLineWord, MAX_COMMAND_LINE } from '../formats/script/cmdline.ts';
import { type IpxeScript, parseIpxeScript, type ScriptLine } from '../formats/script/ipxe-script.ts';
import { expansions } from '../formats/script/ipxe-tokens.ts';
import { saysGaveUp } from './gave-up.ts';
import {
  exitsAsFailure,
  hasPlainPort,
  INTERACTIVE,
  imageNameOf,
  longestCommandLine,
  longestSetting,
  numberFaults,
  queryFault,
  type ReadCommand,
  readCommand,
  settingFault,
  withoutExpansions,
  withoutQuery,
} from './lint-command.ts';
import { followScript, type LintPermit } from './lint-flow.ts';
import { checkMenu, commandsText, MENU_COMMANDS } from './lint-menu.ts';
import { Passed } from './passed.ts';

/** What a boot script broke. */
export type LintRule =
  /** Not a script, too long, or not lines of printable ASCII. */
  | 'malformed'
  /** Does not begin with `imgfree`. */
  | 'imgfree'
  /** Fetches or executes without `imgtrust --permanent`, or loosens it. */
  | 'trust'
  /** An image can reach execution without `imgverify`. */
  | 'unverified'
  /** `imgverify` without `--signer`, or with another signer than asked for. */
  | 'signer'
  /** Starts an image that only firmware could verify, where nothing has shown that it does. */
  | 'firmware'
  /** A failure is not answered by leaving. */
  | 'fatal'
  /** A person could take over. */
  | 'shell'
  /** A setting that can hold any text, where text matters. */
  | 'setting'
  /** An address that is not plain. */
  | 'url'
  /** A word that does not belong on a kernel command line. */
  | 'command-line'
  /** Executes what nothing fetched and verified. */
  | 'chain'
  /** It cannot be told which image is meant. */
  | 'name'
  /** A number that iPXE reads as another one than a person does. */
  | 'number'
  /** An unknown command. */
  | 'unknown'
  /** An option iPXE does not know, or that is not written in full. */
  | 'option'
  /** A label that is missing, or there twice. */
  | 'label'
  /** Leads to the machine's own disk where it must not. */
  | 'disk'
  /** Ends as if it had succeeded. */
  | 'end';

export interface Finding {
  readonly rule: LintRule;
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

export interface LintOptions {
  /** Names that `imgverify --signer` may ask for; any name where this is left out. */
  readonly signers?: readonly string[];
  /** What it may do beside booting what it verified; nothing where this is left out. */
  readonly permits?: readonly LintPermit[];
}

/** Bounds the work a hostile script can cause; honest ones have some dozens. */
const MAX_LINES = 1000;
const MAX_FETCHES = 64;

/**
 * Proves that a script boots only what it verified, and names each line that breaks the proof. No finding
 * means: from an iPXE that honours `imgtrust` and `imgverify`, this script starts nothing whose seal by a
 * named signer did not verify, hands the kernel no other image, and lets no string setting into an address
 * or a command line, nor a command line grow beyond what the kernel reads. Ordered by line.
 */
export function lintScript(bytes: Uint8Array, options: LintOptions = {}): Finding[] {
  const { signers, permits = [] } = options;
  return passed.lint([signers ?? null, permits], bytes, () => findingsOf(bytes, options));
}

const passed = new Passed();

function findingsOf(bytes: Uint8Array, options: LintOptions): Finding[] {
  let script: IpxeScript;
  try {
    script = parseIpxeScript(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return [{ rule: 'malformed', line: 1, message: error.message }];
  }
  const findings: Finding[] = [];
  const seen = new Set<string>();
  const report = (rule: LintRule, line: number, message: string): void => {
    const key = `${rule} ${line} ${message}`;
    if (!seen.has(key)) findings.push({ rule, line, message });
    seen.add(key);
  };
  const dropped = (script.lines.at(-1)?.number ?? 0) + 1;
  if (script.truncated) report('malformed', dropped, 'the last line ends in a backslash');
  if (script.magic !== '#!ipxe') report('malformed', 1, 'the first line is not #!ipxe');
  if (!tooLarge(script, report)) {
    checkStart(script, report);
    checkLabels(script, report);
    for (const line of script.lines) checkLine(line, options, report);
    if (options.permits?.includes('menu')) checkMenu(script, report);
    followScript(script, options.permits ?? [], report);
  }
  return findings.sort((a, b) => a.line - b.line);
}

type Report = (rule: LintRule, line: number, message: string) => void;

function tooLarge({ lines }: IpxeScript, report: Report): boolean {
  const fetches = lines
    .flatMap(({ commands }) => commands)
    .filter(({ words }) => ['fetch', 'select'].includes(readCommand(words)?.does ?? ''));
  if (lines.length <= MAX_LINES && fetches.length <= MAX_FETCHES) return false;
  report('malformed', 1, `more than ${MAX_LINES} lines or ${MAX_FETCHES} images`);
  return true;
}

/** Images that were there before the script would reach the kernel with it. */
function checkStart({ lines }: IpxeScript, report: Report): void {
  const first = lines.find(({ commands }) => commands.length > 0);
  if (first === undefined || first.commands[0]?.words.join(' ') !== 'imgfree') {
    report('imgfree', first?.number ?? 1, 'the first command is not imgfree');
  }
}

function checkLabels({ lines }: IpxeScript, report: Report): void {
  const labels = new Set<string>();
  for (const { label, number } of lines) {
    if (label === undefined) continue;
    if (labels.has(label)) report('label', number, `:${label} is there twice; goto takes the first`);
    labels.add(label);
  }
  for (const { commands, number } of lines) {
    for (const { words } of commands) {
      if (words[0] !== 'goto') continue;
      if (words.length !== 2 || !labels.has(words[1] ?? '')) {
        report('label', number, `${words.join(' ')}: there is no such label`);
      }
    }
  }
}

function checkLine(line: ScriptLine, options: LintOptions, report: Report): void {
  const { number, raw, commands } = line;
  // Terminals obey escape sequences: a script must look like what it is.
  if (/[^\x20-\x7e\t]/.test(raw)) report('malformed', number, 'a character that is not printable ASCII');
  const text = commandsText(line);
  for (const [index, { words }] of commands.entries()) {
    const [name] = words;
    if (name === undefined) continue;
    const permits = options.permits ?? [];
    if (permits.includes('menu') && MENU_COMMANDS.has(name)) continue;
    if (permits.includes('own-disk') && name === 'sanboot') {
      // Whether nothing was fetched before is followed elsewhere.
      if (text !== OWN_DISK) report('disk', number, `a disk is started by: ${OWN_DISK}`);
      continue;
    }
    if (INTERACTIVE.has(name)) {
      report('shell', number, `${name} lets a person take over from the script`);
      continue;
    }
    const command = readCommand(words);
    if (command === undefined) {
      report('unknown', number, `${name} is no command this linter knows to be safe`);
      continue;
    }
    if (command.fault !== undefined) report('option', number, command.fault);
    for (const fault of numberFaults(command)) report('number', number, fault);
    checkSettings(command, number, report);
    checkCommand(command, text, options, number, report);
    checkFailure(command, commands.slice(index + 1), number, report);
  }
}

function checkSettings(command: ReadCommand, line: number, report: Report): void {
  // What is printed decides nothing; what is asked or set decides only where to go or what to print next,
  // and every way is followed.
  if (['show', 'ask'].includes(command.does)) return;
  const [address, query] = withoutQuery(command.operands[0] ?? '');
  const words = [
    ...[...command.options.values()].filter((option) => option !== true),
    ...(command.does === 'set'
      ? command.operands.slice(0, 1)
      : command.does === 'fetch'
        ? [address, ...command.operands.slice(1)]
        : command.operands),
  ];
  if (command.does === 'fetch') checkQuery(command, query, line, report);
  for (const expansion of words.flatMap(expansions)) {
    const fault =
      command.does === 'set' ? `${expansion.text} decides which setting is set` : settingFault(expansion);
    if (fault !== undefined) report('setting', line, fault);
  }
}

/** `?mac=…&uuid=…`: names, each with plain text or one setting. Its values are escaped, and never reach a kernel. */
const QUERY = /^\?[a-z]+=[A-Za-z0-9._-]*(&[a-z]+=[A-Za-z0-9._-]*)*$/;

function checkQuery({ name, operands }: ReadCommand, query: string, line: number, report: Report): void {
  if (query === '') return;
  if (name !== 'imgfetch' || operands.length > 1)
    report('url', line, `${name} asks with a query; only imgfetch may, for what is then verified`);
  else if (!QUERY.test(withoutExpansions(query)))
    report('url', line, `${query} is no plain query of names and values`);
  for (const expansion of expansions(query)) {
    const fault = queryFault(expansion);
    if (fault !== undefined) report('setting', line, fault);
  }
}

/** The one way to a disk: a BIOS's first one, by no name, and with nothing described to what starts there. */
const OWN_DISK = `iseq \${platform} pcbios && sanboot --no-describe --drive 0x80 ||`;
const DISK_NEXT = 'set bootseal-next local';

/** Whether an `exit 0` may stand here; whether it is reached as it must be is followed elsewhere. */
function mayEndWell(text: string, { permits = [] }: LintOptions): boolean {
  return permits.includes('own-disk') && text === 'exit 0';
}

/** Scratch settings, and those that say where to fetch from. Others steer iPXE itself. */
const SETTABLE = /^(bootseal-[a-z0-9-]+(:[a-z0-9]+)?|next-server|syslog)$/;

/** Told to DHCP by loaders with `embedded.ipxe`, as user class (option 77). */
const USER_CLASS = 'bootseal';

/** A server's own pages: nothing for a script, but for one that says where it gave up. */
const API = /\/api(\/|$)/;

function checkCommand(
  command: ReadCommand,
  text: string,
  options: LintOptions,
  line: number,
  report: Report,
): void {
  const { does, name, operands } = command;
  const [target = ''] = operands;
  const asks = operands.some((word) => API.test(withoutQuery(word)[0]) && word.includes('://'));
  if (asks && !['show', 'ask', 'set'].includes(does) && !saysGaveUp(text))
    report('url', line, `${name} asks a server for more than its files: a script only says where it gave up`);
  switch (does) {
    case 'trust':
      if (command.options.has('allow') || !command.options.has('permanent') || operands.length > 0)
        report('trust', line, 'imgtrust must be --permanent and must not --allow');
      return;
    case 'verify': {
      const signer = command.options.get('signer');
      if (typeof signer !== 'string' || signer.includes('$')) {
        report('signer', line, 'imgverify without --signer takes any certificate of the CA');
      } else if (options.signers !== undefined && !options.signers.includes(signer)) {
        report('signer', line, `${signer} is not the signer this script must ask for`);
      }
      if (command.options.has('keep'))
        report('unverified', line, '--keep leaves the seal for the kernel as an initrd');
      if (operands.length !== 2) report('name', line, 'imgverify takes an image and its seal');
      if (operands[1]?.includes('://')) checkUrl(operands[1], line, report);
      return;
    }
    case 'fetch':
    case 'select':
      if (does === 'fetch') checkUrl(withoutQuery(target)[0], line, report);
      else if (target.includes('/')) checkUrl(target, line, report);
      checkCommandLine(command, line, report);
      return;
    case 'execute':
      if (target.includes('://')) checkUrl(target, line, report);
      checkCommandLine(command, line, report);
      return;
    case 'exit':
      if (operands.length > 1)
        report('option', line, 'exit takes one status; with more iPXE does not end the script');
      else if (target === '' || (target === '0' && !mayEndWell(text, options)))
        report('end', line, 'exit without a status ends the script as if it had succeeded; write exit 1');
      return;
    case 'set':
      // What DHCP is told that a loader is; any other text would have it answer as to somebody else.
      if (name === 'set' && target === 'user-class' && operands.slice(1).join(' ') === USER_CLASS) return;
      if (!SETTABLE.test(target))
        report('setting', line, `${name} ${target}: a script sets only bootseal-…, next-server and syslog`);
      if (
        /^bootseal-next\b(?!-)/.test(target) &&
        !(options.permits?.includes('own-disk') && text === DISK_NEXT)
      )
        report('disk', line, `${name} ${target} says that the machine's own disk comes next`);
      return;
    default:
  }
}

function checkUrl(url: string, line: number, report: Report): void {
  if (!hasPlainPort(url)) report('number', line, `${url} names no port from 1 to 65535 in plain digits`);
  const plain = withoutExpansions(url);
  if (
    !/^(https?|tftp):\/\/(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?(\/[A-Za-z0-9._+@:,=~-]+)+$/.test(plain)
  ) {
    report('url', line, `${url} is not a plain address that begins with http://, https:// or tftp://`);
  }
}

function checkCommandLine(command: ReadCommand, line: number, report: Report): void {
  const words = command.operands.slice(1);
  for (const word of words) {
    if (!isCommandLineWord(withoutExpansions(word))) {
      report('command-line', line, `${word} does not belong on a kernel command line`);
    }
  }
  const settings = words.flatMap(expansions);
  if (settings.some((setting) => settingFault(setting) !== undefined)) return;
  const endless = settings.filter((setting) => longestSetting(setting) === Number.POSITIVE_INFINITY);
  for (const { text } of endless)
    report('setting', line, `${text} can be of any length, and the kernel cuts what it pushes to the end`);
  const longest = longestCommandLine(imageNameOf(command) ?? '', words);
  if (words.length > 0 && endless.length === 0 && longest > MAX_COMMAND_LINE) {
    report(
      'command-line',
      line,
      `the command line can have ${longest} bytes; the kernel cuts at ${MAX_COMMAND_LINE}`,
    );
  }
}

/**
 * What must not fail unnoticed leaves on failure: by `|| goto`, `|| exit 1`, `|| reboot` or `|| poweroff`. A
 * bare `||` swallows it. Without any `||` the script would end and leave the machine to whatever ran it.
 */
function checkFailure(
  command: ReadCommand,
  rest: ScriptLine['commands'],
  line: number,
  report: Report,
): void {
  const { does, name } = command;
  if (does === 'fetch' || does === 'select') {
    if (!rest.some(({ after }) => after === '||')) report('fatal', line, `${name} has no ||`);
    return;
  }
  if (!['trust', 'verify', 'execute'].includes(does)) return;
  const [next] = rest;
  const leaves =
    next?.after === '||' &&
    (['goto', 'reboot', 'poweroff'].includes(next.words[0] ?? '') || exitsAsFailure(next.words));
  if (!leaves) report('fatal', line, `${name} is not followed by || goto, exit 1, reboot or poweroff`);
}
