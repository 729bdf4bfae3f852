import { Malformed } from '../../errors/malformed.ts';
import { settingFromNumber, settingToNumber } from '../../formats/script/ipxe-settings.ts';
import { parseSettingName, type SettingName } from '../../formats/script/ipxe-tokens.ts';
import { type Call, type CommandTable, couldNot, KEEP, QUIET, TIMEOUT } from './command.ts';
import { acquire } from './download.ts';
import { EINVAL, ENODEV, ENOENT, ENOTSUP, ETIMEDOUT, type Failure, type Status } from './failure.ts';
import { waiting } from './halt.ts';
import { parseInteger } from './options.ts';
import type { State } from './state.ts';

/** The setting a command names. `create` lets its block come into being. */
function named(state: State, text: string, create: boolean): SettingName | { failure: Failure } {
  const name = parseSettingName(text);
  if (state.settings.exists(name, create)) return name;
  state.print(`"${text}": invalid setting\n`);
  return { failure: name.type === undefined ? ENODEV : ENOTSUP };
}

function store(state: State, name: SettingName, text: string): Status {
  const failure = state.settings.store(name, state.settings.typeFor(name) ?? 'string', text);
  return failure === undefined ? undefined : couldNot(state, `store "${name.name}"`, failure);
}

/** Stores a text under the setting that `argument` names. */
export function storeNamed(state: State, argument: string, text: string): Status {
  const name = named(state, argument, true);
  return 'failure' in name ? name.failure : store(state, name, text);
}

function increment({ state, args }: Call): Status {
  const name = named(state, args[0] ?? '', false);
  if ('failure' in name) return name.failure;
  const by = args[1] === undefined ? 1 : parseInteger(args[1], state.console.print);
  if (typeof by !== 'number') return by;
  const found = state.settings.fetch(name);
  const type = found?.type ?? (name.type === undefined ? 'int32' : state.settings.typeFor(name)) ?? 'int32';
  const integer = /^u?int(8|16|32)$/.test(type);
  const read = found !== undefined && integer && settingToNumber(found.octets, !type.startsWith('u'));
  // What is no number counts as zero.
  const value = read || 0n;
  try {
    const octets = settingFromNumber(type, value + BigInt(by));
    const failure = state.settings.storeOctets(name, type, octets);
    return failure === undefined ? undefined : couldNot(state, `store "${name.name}"`, failure);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return couldNot(state, `store "${name.name}"`, ENOTSUP);
  }
}

/** Source: iPXE `src/hci/commands/nvo_cmd.c`, `image_set_cmd.c`, `login_cmd.c`. */
export const settingCommands: CommandTable = {
  show: {
    options: [QUIET],
    min: 1,
    max: 1,
    usage: '<setting>',
    run: ({ state, args, flags }) => {
      const name = named(state, args[0] ?? '', false);
      if ('failure' in name) return name.failure;
      const found = state.settings.fetch(name);
      if (found?.text === undefined) {
        const failure = found === undefined ? ENOENT : EINVAL;
        return couldNot(state, `find "${name.name}"`, failure);
      }
      const label = `${found.origin === '' ? '' : `${found.origin}/`}${name.name}:${found.type}`;
      state.print(`${flags.has('quiet') ? '' : `${label} = `}${found.text}\n`);
      return undefined;
    },
  },
  set: {
    options: [],
    min: 1,
    usage: '<setting> <value>',
    run: ({ state, args }) => storeNamed(state, args[0] ?? '', args.slice(1).join(' ')),
  },
  clear: {
    options: [],
    min: 1,
    max: 1,
    usage: '<setting>',
    run: ({ state, args }) => storeNamed(state, args[0] ?? '', ''),
  },
  inc: { options: [], min: 1, max: 2, usage: '<setting> [<increment>]', run: increment },
  read: {
    options: [TIMEOUT],
    min: 1,
    max: 1,
    usage: '<setting>',
    run: ({ state, args, numbers }) => {
      const [argument = ''] = args;
      const name = named(state, argument, true);
      if ('failure' in name) return name.failure;
      const typed = state.options.answers?.read?.(argument, state.settings.fetch(name)?.text ?? '');
      if (typed !== undefined) return store(state, name, typed);
      if ((numbers.get('timeout') ?? 0) === 0) throw waiting('read');
      return ETIMEDOUT;
    },
  },
  login: {
    options: [],
    min: 0,
    max: 0,
    run: ({ state }) => {
      const entered = state.options.answers?.login?.();
      if (entered === undefined) throw waiting('login');
      return (
        storeNamed(state, 'username', entered.username) ?? storeNamed(state, 'password', entered.password)
      );
    },
  },
  imgset: {
    options: [KEEP, TIMEOUT, QUIET],
    min: 2,
    max: 2,
    run: async ({ state, args, flags }) => {
      const [argument = '', nameOrUri = ''] = args;
      const name = named(state, argument, true);
      if ('failure' in name) return name.failure;
      const image = await acquire(state, nameOrUri, flags.has('quiet'));
      if ('failure' in image) return image.failure;
      const type = name.type === undefined ? undefined : state.settings.typeFor(name);
      const failure = state.settings.storeOctets(name, type, image.bytes);
      if (!flags.has('keep')) state.images.unregister(image);
      return failure === undefined ? undefined : couldNot(state, `store "${name.name}"`, failure);
    },
  },
};
