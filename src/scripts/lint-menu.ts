import type { IpxeScript, ScriptLine } from '../formats/script/ipxe-script.ts';

/**
 * The one shape that a menu may have (iPXE `src/hci/commands/dynui_cmd.c`, `src/hci/tui/menu_ui.c`):
 *
 *     menu TITLE || goto LABEL
 *     item NAME TEXT                                         once for each choice
 *     choose --default NAME --timeout MS bootseal-choice || goto UNCHOSEN
 *     iseq ${bootseal-choice} NAME && goto LABEL ||          once for each choice
 *     goto UNCHOSEN
 *
 * So a person picks one of the script's own labels, and everything else (Escape, Ctrl-C, a choice that there is not)
 * ends where no choice does. No option of `item` is let in: a key, a hidden item or another menu is nothing that one
 * needs. What stands behind each label is followed like any other line.
 */

/** The commands of a menu; the others that involve a person are never taken. */
export const MENU_COMMANDS: ReadonlySet<string> = new Set(['menu', 'item', 'choose']);

/** Items that a screen of 25 lines shows without scrolling, the local disk among them. */
export const MAX_ITEMS = 17;

const ITEM = /^[a-z0-9][a-z0-9-]{0,31}$/;
/** Milliseconds: a tenth of a second to an hour. iPXE takes 0 for no end. */
const TIMEOUT = /^[1-9][0-9]{2,6}$/;
const CHOICE = 'bootseal-choice';
const CHOSEN = /^iseq \$\{bootseal-choice\} ([^ ]+) && goto ([^ ]+) \|\|$/;

type Report = (rule: 'shell', line: number, message: string) => void;

/** Reports each way in which a script's menu is not of that shape. Nothing is said of a script without one. */
export function checkMenu({ lines: all }: IpxeScript, report: Report): void {
  const lines = all.filter(({ commands, label }) => commands.length > 0 || label !== undefined);
  const start = lines.findIndex(isOfMenu);
  const first = lines[start];
  if (!first) return;
  const at = (offset: number): ScriptLine => lines[start + offset] ?? { ...first, commands: [] };
  checkHead(first, report);
  const names: string[] = [];
  while (at(names.length + 1).commands[0]?.words[0] === 'item') {
    const line = at(names.length + 1);
    const name = checkItem(line, report);
    if (names.includes(name)) report('shell', line.number, `the item ${name} is there twice`);
    names.push(name);
    if (lines.length < names.length) break;
  }
  if (names.length === 0 || names.length > MAX_ITEMS)
    report('shell', first.number, `a menu has 1 to ${MAX_ITEMS} items, and this one has ${names.length}`);
  const choose = at(names.length + 1);
  const unchosen = checkChoose(choose, names, report);
  for (const [index, name] of names.entries())
    checkChoice(at(names.length + 2 + index), name, unchosen, report);
  const end = 2 * names.length + 2;
  if (commandsText(at(end)) !== `goto ${unchosen}`)
    report('shell', at(end).number, 'what is no choice does not go where no choice goes');
  for (const { label, number } of lines.slice(start + 1, start + end + 1))
    if (label !== undefined) report('shell', number, `:${label} leads into the middle of a menu`);
  const more = lines.slice(start + names.length + 2).find(isOfMenu);
  if (more) report('shell', more.number, 'a second menu');
}

function isOfMenu({ commands }: ScriptLine): boolean {
  return commands.some(({ words }) => MENU_COMMANDS.has(words[0] ?? ''));
}

/** The commands of a line, one blank between two words. */
export function commandsText({ commands }: Pick<ScriptLine, 'commands'>): string {
  return commands.flatMap(({ after, words }) => (after === undefined ? words : [after, ...words])).join(' ');
}

/** Nothing expands in it: what a person reads is what was signed. */
function isPlain(words: readonly string[]): boolean {
  return words.length > 0 && words.every((word) => /^[\x21-\x7e]+$/.test(word) && !/[$\\]/.test(word));
}

function checkHead({ commands, number }: ScriptLine, report: Report): void {
  const [menu, leave, ...more] = commands;
  const [name, ...title] = menu?.words ?? [];
  if (name !== 'menu' || title[0]?.startsWith('-') || !isPlain(title))
    report('shell', number, 'a menu begins with menu and a plain title');
  if (leave?.after !== '||' || leave.words[0] !== 'goto' || more.length > 0)
    report('shell', number, 'menu is not followed by || goto alone');
}

/** Answers its name. */
function checkItem({ commands, number }: ScriptLine, report: Report): string {
  const [item, ...more] = commands;
  const [, name = '', ...shown] = item?.words ?? [];
  if (more.length > 0 || !ITEM.test(name) || !isPlain(shown))
    report('shell', number, 'an item has a plain name, a plain text, and no options');
  return name;
}

/** Answers where Escape leads. */
function checkChoose(line: ScriptLine, names: readonly string[], report: Report): string {
  const [choose, leave, ...more] = line.commands;
  const [command, first, name = '', second, timeout = '', setting, ...rest] = choose?.words ?? [];
  const fits = command === 'choose' && first === '--default' && second === '--timeout';
  if (!fits || setting !== CHOICE || rest.length > 0)
    report('shell', line.number, `a choice is: choose --default NAME --timeout MILLISECONDS ${CHOICE}`);
  if (!names.includes(name)) report('shell', line.number, 'the default is no item of the menu');
  if (!TIMEOUT.test(timeout)) report('shell', line.number, 'a menu must end by itself, within hours');
  const [goto, label = ''] = leave?.words ?? [];
  if (leave?.after !== '||' || goto !== 'goto' || more.length > 0)
    report('shell', line.number, 'choose is not followed by || goto alone');
  return label;
}

function checkChoice(line: ScriptLine, name: string, unchosen: string, report: Report): void {
  const [, compared, label] = CHOSEN.exec(commandsText(line)) ?? [];
  if (compared === name && label !== unchosen) return;
  report('shell', line.number, `the choice ${name} is not answered here by a goto of its own`);
}
