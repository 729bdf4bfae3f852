import { GRUB_SWITCH } from '../formats/script/grub-boot.ts';
import { type GrubStatement, grubExpansions, grubText, grubTokens } from '../formats/script/grub-tokens.ts';
import { GRUB_NOUNZIP } from '../formats/script/kernel-lines.ts';
import type { GrubItem, GrubReport, GrubWord } from './grub-items.ts';
import { checkGrubMenu } from './grub-lint-menu.ts';
import { GRUB_ADDRESS, GRUB_MAC, GRUB_PLAIN } from './grub-server.ts';
import type { Finding } from './lint.ts';
import { MULTIBOOT_MARK } from './multiboot.ts';
import { Passed } from './passed.ts';

/**
 * What a `grub.cfg` must hold that a script key signs. No finding means: in an image of `bootseal loaders grub`
 * it opens kernel and initrds with the payload keys alone, runs nothing but the few commands below, touches no
 * variable that steers GRUB, lets no text from DHCP reach a kernel or the console, and does not come back.
 */

/** The variable by which the loader says that it struck the script keys off. */
const SWITCHED = 'bootseal_trusts';

/** Everything else is refused: `configfile`, `source` and `load_env` run or read what another key may have signed. */
export const GRUB_COMMANDS: readonly string[] = [
  ...['echo', 'sleep', 'reboot', 'halt', 'true', 'set', '[', 'regexp', 'linux', 'initrd', 'boot'],
  ...['multiboot2', 'module2'],
];
const LOADS = ['linux', 'initrd', 'boot', 'multiboot2', 'module2'];
/** What a text of any content may be given to, within quotes. */
const COMPARES = ['set', '[', 'regexp'];
const KEYWORDS = ['if', 'then', 'else', 'elif', 'while', 'until', 'do'];
const ENDINGS = ['fi', 'done'];
const LOOPS = ['while', 'until', 'for'];
const SMBIOS = /^--type [0-9]{1,3} --get-(string|uuid) [0-9]{1,3} --set bootseal_[a-z]+$/;
const MAX_STATEMENTS = 2000;

type Report = GrubReport;
type Word = GrubWord;
type Item = GrubItem;

/**
 * What a configuration is for. `release`: it starts one. `own-disk`: nothing starts in it, and GRUB ends. `hold`: nothing
 * starts, and the machine is named. `menu`: entries that open another configuration, or end GRUB.
 */
export type GrubConfigKind = 'release' | 'own-disk' | 'hold' | 'menu';

/** What each takes beside, or in the place of, what a release does. */
const OWN_COMMANDS: Readonly<Record<GrubConfigKind, readonly string[]>> = {
  release: [],
  'own-disk': ['exit'],
  hold: ['smbios'],
  menu: [],
};
const OWN_VARIABLES: Readonly<Record<GrubConfigKind, readonly string[]>> = {
  release: [],
  'own-disk': [],
  hold: [],
  menu: ['default'],
};

/** The findings of a configuration, by line. */
export function lintGrubConfig(bytes: Uint8Array, kind: GrubConfigKind = 'release'): Finding[] {
  return passed.lint(kind, bytes, () => findingsOf(bytes, kind));
}

const passed = new Passed();

function findingsOf(bytes: Uint8Array, kind: GrubConfigKind): Finding[] {
  const findings: Finding[] = [];
  const report: Report = (rule, line, message) => findings.push({ rule, line, message });
  const text = Buffer.from(bytes).toString('latin1');
  for (const [index, line] of text.split('\n').entries()) {
    // Terminals obey escape sequences: a script must look like what it is.
    if (/[^\x20-\x7e\t]/.test(line))
      report('malformed', index + 1, 'a character that is not printable ASCII');
  }
  const { statements, odd } = grubTokens(text);
  for (const line of odd) report('malformed', line, 'a backslash, a pipe, or a quote without its other');
  if (statements.length > MAX_STATEMENTS) {
    report('malformed', 1, `more than ${MAX_STATEMENTS} commands`);
    return findings;
  }
  const { functions, body, entries } = split(statements, kind, report);
  const stops = new Set([...functions].filter(([, items]) => neverReturns(items)).map(([name]) => name));
  for (const item of [...[...functions.values()].flat(), ...body])
    checkCommand(item, kind, new Set(functions.keys()), report);
  for (const [name, items] of functions) checkFunction(name, items, report);
  if (kind === 'release') checkLoads(body, stops, report);
  if (kind === 'own-disk') checkExit(body, stops, report);
  // What follows variables reads straight down: a second pass would start with what the first one left in them.
  for (const { line, name } of body.filter((item) => LOOPS.includes(item.name)))
    report('setting', line, `${name} runs lines again, and nothing follows what they left`);
  const clean = followVariables(body, stops, report);
  if (kind === 'menu') checkGrubMenu(entries, body, clean, stops, report);
  const last = body.at(-1);
  if (kind !== 'menu' && (!last || !stops.has(last.name)))
    report('end', last?.line ?? 1, 'it ends and comes back to the loader');
  return findings.sort((a, b) => a.line - b.line);
}

function checkLoads(body: readonly Item[], stops: ReadonlySet<string>, report: Report): void {
  const start = switchEnd(body, stops);
  for (const { line, name } of body.slice(0, start).filter((item) => LOADS.includes(item.name)))
    report('trust', line, `${name} before ${GRUB_SWITCH} has struck the script keys off`);
  if (start === 0) report('trust', 1, `nothing calls ${GRUB_SWITCH} and proves that it did`);
  checkMultiboot(body, stops, report);
}

/** It is the last but one thing, whatever the conditions before it: nothing that fails leads to the disk. */
function checkExit(body: readonly Item[], stops: ReadonlySet<string>, report: Report): void {
  for (const { line, words } of body.filter(({ name }) => name === 'exit'))
    if (words.length > 0) report('option', line, 'exit takes no status here');
  const exits = body.flatMap(({ name }, index) => (name === 'exit' ? [index] : []));
  const [at = -1] = exits;
  if (exits.length !== 1 || at !== body.length - 2 || !stops.has(body.at(-1)?.name ?? ''))
    report(
      'disk',
      body[at]?.line ?? 1,
      'a configuration that leaves to the disk ends with exit and a refusal',
    );
}

/** The functions that a configuration defines, the entries of its menu, and what stands outside of them. */
function split(statements: readonly GrubStatement[], kind: GrubConfigKind, report: Report) {
  const functions = new Map<string, Item[]>();
  const entries: { line: number; after: number; words: readonly Word[]; items: Item[] }[] = [];
  const body: Item[] = [];
  let inside: Item[] | undefined;
  for (const { line, words, end } of statements) {
    const items = itemsOf(line, words);
    if (items[0]?.name === 'function') {
      const name = grubText(items[0].words[0] ?? []);
      if (inside || end !== '{' || items[0].words.length !== 1 || functions.has(name) || !isOwn(name))
        report('unknown', line, `a function ${name} cannot be defined here`);
      inside = [];
      functions.set(name, inside);
    } else if (kind === 'menu' && items[0]?.name === 'menuentry') {
      if (inside || end !== '{' || items.length !== 1) report('unknown', line, 'an entry cannot begin here');
      inside = [];
      entries.push({ line, after: body.length, words: items[0].words, items: inside });
    } else {
      (inside ?? body).push(...items);
      if (end === '{') report('unknown', line, 'a block that is no function');
    }
    if (end === '}') {
      if (!inside) report('unknown', line, 'the end of a block that never began');
      inside = undefined;
    }
  }
  if (inside) report('unknown', statements.at(-1)?.line ?? 1, 'a function without an end');
  return { functions, body, entries };
}

/** A name of its own: neither one of GRUB's nor one of the loader's, which ours would replace. */
function isOwn(name: string): boolean {
  return /^bootseal_[a-z_]+$/.test(name) && name !== GRUB_SWITCH && !name.startsWith('bootseal_loader');
}

function itemsOf(line: number, words: readonly Word[]): Item[] {
  const items: Item[] = [];
  let rest = words;
  while (rest[0] && KEYWORDS.includes(bareText(rest[0]))) {
    items.push({ line, name: bareText(rest[0]), words: [] });
    rest = rest.slice(1);
  }
  const [command, ...operands] = rest;
  if (command) items.push({ line, name: bareText(command), words: operands });
  return items;
}

/** A command's name; `?` where quotes or variables hide which one it is. */
function bareText(word: Word): string {
  const [piece] = word;
  return word.length === 1 && piece?.quotes === '' && !piece.text.includes('$') ? piece.text : '?';
}

function same(items: readonly Item[], pattern: readonly string[]): boolean {
  return pattern.every((wanted, index) => {
    const item = items[index];
    return item && [item.name, ...item.words.map(grubText)].join(' ') === wanted;
  });
}

/** It ends by restarting, by halting where that fails, and by sleeping for ever where that does. */
function neverReturns(items: readonly Item[]): boolean {
  const end = ['reboot', 'halt', 'while', 'true', 'do', 'sleep 60', 'done'];
  const tail = items.slice(-end.length);
  return tail.length === end.length && same(tail, end) && items.slice(0, -end.length).every(isPlain);
}

/** It goes on to the next command, whatever it makes of its words. */
function isPlain({ name }: Item): boolean {
  return ['echo', 'sleep'].includes(name);
}

/** It may be called anywhere, so nothing in it depends on what came before: it shows text, and its arguments. */
function checkFunction(called: string, items: readonly Item[], report: Report): void {
  for (const { name, words, line } of items) {
    if ([...LOADS, GRUB_SWITCH, 'set', 'regexp', 'smbios', 'exit'].includes(name))
      report('trust', line, `${name} in the function ${called}, which may be called anywhere`);
    for (const { name: variable, split: splits } of words.flatMap(grubExpansions)) {
      if (splits || !/^[0-9]+$/.test(variable))
        report('setting', line, `$${variable} in the function ${called} can be any text`);
    }
  }
}

function checkCommand(
  { name, words, line }: Item,
  kind: GrubConfigKind,
  functions: ReadonlySet<string>,
  report: Report,
): void {
  if (KEYWORDS.includes(name) || ENDINGS.includes(name) || functions.has(name)) return;
  if (kind !== 'release' && [GRUB_SWITCH, ...LOADS].includes(name)) {
    report('trust', line, `${name} in a configuration that starts nothing itself`);
    return;
  }
  if (name === GRUB_SWITCH) return;
  if (name === 'smbios' && !SMBIOS.test(words.map(grubText).join(' ')))
    report('option', line, 'smbios reads one string or number into one variable');
  if (![...GRUB_COMMANDS, ...OWN_COMMANDS[kind]].includes(name)) {
    report('unknown', line, `${name} is no command that a sealed configuration needs`);
    return;
  }
  for (const variable of assigned({ name, words, line })) {
    if (/^(bootseal_[a-z]+|timeout|m[1-6])$/.test(variable) && variable !== SWITCHED) continue;
    if (OWN_VARIABLES[kind].includes(variable)) continue;
    report('setting', line, `${variable} is not this script's to set`);
  }
}

/**
 * A multiboot kernel and its modules stand in one place and one form: each is loaded as the condition of an `if`, within
 * the one before it, and `boot` within them all. GRUB would start a hypervisor without the module that it refused, and
 * with one that came from elsewhere in the text.
 */
function checkMultiboot(body: readonly Item[], stops: ReadonlySet<string>, report: Report): void {
  const first = body.findIndex(({ name }) => name === 'multiboot2');
  const chain = new Set(first < 0 ? [] : multibootChain(body, first, stops));
  for (const [index, { name, line }] of body.entries()) {
    if (['multiboot2', 'module2'].includes(name) && !chain.has(index))
      report('fatal', line, `${name} is not asked whether it failed, within an if for each one before it`);
    if (first < 0) continue;
    if (name === 'boot' && !chain.has(index))
      report('fatal', line, 'boot does not stand within the ifs of the hypervisor and its modules');
    if (['linux', 'initrd'].includes(name))
      report('name', line, `${name} beside a hypervisor: it cannot be told what boots`);
  }
  const loaded = body.filter(({ name }, index) => name === 'module2' && chain.has(index));
  if (first >= 0 && loaded.length === 0)
    report('name', body[first]?.line ?? 1, 'a hypervisor without its Linux');
  for (const { name, words, line } of [...loaded, ...body.slice(first, first + 1)]) {
    const texts = words.map(grubText);
    const isModule = name === 'module2';
    const [file = '', ...own] = isModule ? texts.slice(1) : texts;
    if ((isModule && texts[0] !== GRUB_NOUNZIP) || !file.startsWith('$bootseal_device/'))
      report(
        'name',
        line,
        `${name} takes ${isModule ? `${GRUB_NOUNZIP} and ` : ''}a file of $bootseal_device`,
      );
    if (!isModule && own.includes(MULTIBOOT_MARK))
      report('command-line', line, `what stands behind ${MULTIBOOT_MARK} is added to the line of the Linux`);
  }
}

/** Where a hypervisor, its modules and their `boot` stand, if they stand as they must; of `true` there is nothing to load. */
function multibootChain(body: readonly Item[], first: number, stops: ReadonlySet<string>): number[] {
  const chain: number[] = [];
  let at = first - 1;
  for (; body[at]?.name === 'if' && body[at + 2]?.name === 'then'; at += 3) {
    const { name = '' } = body[at + 1] ?? {};
    if (name !== (chain.length === 0 ? 'multiboot2' : 'module2') && name !== 'true') break;
    chain.push(at + 1);
  }
  while (body[at]?.name === 'echo') at += 1;
  return body[at]?.name === 'boot' && stops.has(body[at + 1]?.name ?? '') ? [...chain, at] : [];
}

/** The variables that a command sets; `?` where that is hidden. */
function assigned({ name, words }: Item): string[] {
  if (name === 'set') {
    const [first = [], ...more] = words;
    const [, variable = '?'] = /^([A-Za-z0-9_]+)=/.exec(first[0]?.quotes === '' ? first[0].text : '') ?? [];
    return more.length > 0 ? ['?'] : [variable];
  }
  if (name === 'smbios') return [/ --set ([A-Za-z0-9_]+)$/.exec(words.map(grubText).join(' '))?.[1] ?? '?'];
  if (name !== 'regexp') return [];
  return words.flatMap((word) => {
    const text = grubText(word);
    if (!text.startsWith('-')) return [];
    return /^--set=[0-9]:([A-Za-z0-9_]+)$/.exec(text)?.[1] ?? '?';
  });
}

/** Where the first proof ends that the loader switched; 0 where there is none. */
function switchEnd(body: readonly Item[], stops: ReadonlySet<string>): number {
  const pattern = [GRUB_SWITCH, 'if', `[ $${SWITCHED} != payload ]`, 'then'];
  let depth = 0;
  for (const [index, { name }] of body.entries()) {
    if (name === 'if' || name === 'while' || name === 'until') depth += 1;
    if (ENDINGS.includes(name)) depth -= 1;
    // Within a condition it might never be called.
    if (depth > 0 || name !== GRUB_SWITCH) continue;
    const at = index + pattern.length;
    const quoted = body[index + 2]?.words[0]?.every(({ quotes }) => quotes === '"');
    if (
      same(body.slice(index, at), pattern) &&
      quoted &&
      stops.has(body[at]?.name ?? '') &&
      body[at + 1]?.name === 'fi'
    )
      return at + 2;
  }
  return 0;
}

/**
 * Follows what DHCP says. GRUB splits an unquoted variable into words, and DHCP's may be any text: it may only be
 * compared, and counts as a fact once `regexp` has held it to one of our two forms. Where it is shown and no more, plain
 * text is enough. Answers the variables that are facts at the end.
 */
function followVariables(body: readonly Item[], stops: ReadonlySet<string>, report: Report): Set<string> {
  const clean = new Set(['bootseal_protocol', 'check_signatures', SWITCHED]);
  const own = new Set<string>();
  const anyText = (word: Word) => grubExpansions(word).filter(({ name }) => !clean.has(name));
  let depth = 0;
  for (const [index, item] of body.entries()) {
    const { name, words, line } = item;
    const typed = depth === 0 ? typedBy(body, index, stops) : undefined;
    if (typed !== undefined) clean.add(typed);
    if (['if', 'while', 'until'].includes(name)) depth += 1;
    if (ENDINGS.includes(name)) depth -= 1;
    for (const { name: variable, split: splits } of words.flatMap(anyText)) {
      if (splits) report('setting', line, `$${variable} can be any text, and stands without quotes`);
      else if (name === 'echo' && variable === shownBy(body, index)) continue;
      else if (!COMPARES.includes(name))
        report('setting', line, `$${variable} can be any text, and nothing has held it to a form`);
    }
    const pattern = grubText(words.find((word) => !grubText(word).startsWith('-')) ?? []);
    const fact =
      name === 'set' ? words.flatMap(anyText).length === 0 : name === 'regexp' && pattern === GRUB_MAC;
    for (const variable of assigned(item)) {
      // Where it may keep what it had before, it is no better than that.
      if (!fact) clean.delete(variable);
      else if (!own.has(variable)) clean.add(variable);
      own.add(variable);
    }
  }
  return clean;
}

/** The variable of which the condition around this `echo` says that it is plain text, or a card's address. */
function shownBy(body: readonly Item[], index: number): string | undefined {
  let at = index;
  while (body[at]?.name === 'echo') at -= 1;
  const [pattern, value, ...more] = body[at - 1]?.words ?? [];
  const names = [body[at - 2]?.name, body[at - 1]?.name, body[at]?.name];
  if (names.join(' ') !== 'if regexp then' || !pattern || !value || more.length > 0) return undefined;
  const [variable, ...others] = grubExpansions(value);
  if (!variable || others.length > 0 || variable.split || grubText(value) !== `$${variable.name}`)
    return undefined;
  return [GRUB_PLAIN, GRUB_MAC].includes(grubText(pattern)) ? variable.name : undefined;
}

/** The variable that these lines let pass only where it is an address. */
function typedBy(body: readonly Item[], index: number, stops: ReadonlySet<string>): string | undefined {
  const test = body[index + 1];
  const [pattern, value, ...more] = test?.words ?? [];
  const [variable, ...others] = value ? grubExpansions(value) : [];
  if (body[index]?.name !== 'if' || test?.name !== 'regexp' || !pattern || !value || !variable)
    return undefined;
  if (more.length > 0 || others.length > 0 || variable.split || grubText(pattern) !== GRUB_ADDRESS)
    return undefined;
  if (grubText(value) !== `$${variable.name}`) return undefined;
  const rest = body.slice(index + 2, index + 7).map(({ name }) => name);
  const [then, yes, otherwise, no, end] = rest;
  const refuses =
    then === 'then' && yes === 'true' && otherwise === 'else' && stops.has(no ?? '') && end === 'fi';
  return refuses ? variable.name : undefined;
}
