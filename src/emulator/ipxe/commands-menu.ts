import { type Call, type CommandTable, KEEP, NAME, TIMEOUT } from './command.ts';
import { storeNamed } from './commands-settings.ts';
import { ECANCELED, ENOENT, ENOTSUP, type Failure, type Status } from './failure.ts';
import { waiting } from './halt.ts';
import type { DynamicUi, State } from './state.ts';

const MENU = { long: 'menu', short: 'm', kind: 'string' } as const;
const FORM = { long: 'form', short: 'f', kind: 'string' } as const;
const DELETE = { long: 'delete', short: 'd', kind: 'flag' } as const;

function findMenu(state: State, name: string | undefined): DynamicUi | { failure: Failure } {
  const menu = state.menus.get(name);
  if (menu !== undefined) return menu;
  state.print(name === undefined ? 'No default user interface\n' : `"${name}": no such user interface\n`);
  return { failure: ENOENT };
}

function create({ state, args, strings, flags }: Call): Status {
  state.menus.set(strings.get('name'), { title: args.join(' '), items: [] });
  if (flags.has('delete')) state.menus.delete(strings.get('name'));
  return undefined;
}

function item({ state, args, strings, flags }: Call): Status {
  const menu = findMenu(state, strings.get('menu') ?? strings.get('form'));
  if ('failure' in menu) return menu.failure;
  const name = flags.has('gap') ? undefined : args[0];
  const text = args.slice(flags.has('gap') ? 0 : 1).join(' ');
  menu.items.push({ name, text, isDefault: flags.has('default') });
  return undefined;
}

function choose({ state, args, strings, numbers, flags }: Call): Status {
  const menu = findMenu(state, strings.get('menu'));
  if ('failure' in menu) return menu.failure;
  const chosen = pick(state, menu, strings.get('default'), (numbers.get('timeout') ?? 0) > 0);
  if (!flags.has('keep')) state.menus.delete(strings.get('menu'));
  return typeof chosen === 'string' ? storeNamed(state, args[0] ?? '', chosen) : chosen;
}

/** The item that is chosen: by the person, or, when the time runs out, the default one. */
function pick(state: State, menu: DynamicUi, wanted: string | undefined, timed: boolean): string | Failure {
  const names = menu.items.flatMap(({ name }) => (name === undefined ? [] : [name]));
  const [first] = names;
  // iPXE does not draw a menu in which nothing can be chosen.
  if (first === undefined) return ENOENT;
  state.print(`${menu.title}\n${menu.items.map(({ text }) => `  ${text}\n`).join('')}`);
  const answer = state.options.answers?.choose?.({ title: menu.title, items: menu.items });
  if (answer === 'cancel') return ECANCELED;
  if (answer !== undefined) return names.includes(answer.name) ? answer.name : ECANCELED;
  if (!timed) throw waiting('choose');
  // `--default` names it; else the last item marked `--default`; else the first.
  const marked = menu.items.filter(({ isDefault, name }) => isDefault && name !== undefined).at(-1)?.name;
  return (wanted === undefined ? marked : names.find((name) => name === wanted)) ?? first;
}

/** Source: iPXE `src/hci/commands/dynui_cmd.c`, `src/hci/tui/menu_ui.c`, `src/core/dynui.c`. */
export const menuCommands: CommandTable = {
  menu: { options: [NAME, DELETE], min: 0, usage: '[<title>]', run: create },
  form: { options: [NAME, DELETE], min: 0, usage: '[<title>]', run: create },
  item: {
    options: [
      MENU,
      FORM,
      { long: 'key', short: 'k', kind: 'key' },
      { long: 'default', short: 'd', kind: 'flag' },
      { long: 'secret', short: 's', kind: 'flag' },
      { long: 'gap', short: 'g', kind: 'flag' },
    ],
    min: 0,
    usage: '[<name> [<text>]]',
    run: item,
  },
  choose: {
    options: [
      MENU,
      { long: 'default', short: 'd', kind: 'string' },
      TIMEOUT,
      { long: 'retimeout', short: 'r', kind: 'integer' },
      KEEP,
    ],
    min: 1,
    max: 1,
    usage: '<setting>',
    run: choose,
  },
  present: { options: [FORM, KEEP], min: 0, max: 0, run: () => ENOTSUP },
};
