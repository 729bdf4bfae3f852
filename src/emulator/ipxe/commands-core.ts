import { type CommandTable, KEEP, TIMEOUT } from './command.ts';
import { ECANCELED, ENOENT, ENOTSUP, ERANGE, ETIMEDOUT } from './failure.ts';
import { Halt, waiting } from './halt.ts';
import { parseInteger } from './options.ts';
import type { State } from './state.ts';

/** The control of a script, and of the machine's power. Sources: iPXE `src/core/exec.c`, `src/image/script.c`. */
export const coreCommands: CommandTable = {
  echo: {
    options: [{ long: 'n', short: 'n', kind: 'flag' }],
    min: 0,
    usage: '[...]',
    run: ({ state, args, flags }) => {
      state.print(`${args.join(' ')}${flags.has('n') ? '' : '\n'}`);
      return undefined;
    },
  },
  exit: {
    options: [],
    min: 0,
    max: 1,
    usage: '[<status>]',
    run: ({ state, args }) => {
      const [text] = args;
      const status = text === undefined ? 0 : parseInteger(text, state.console.print);
      if (typeof status !== 'number') return status;
      state.stop = 2;
      return status === 0 ? undefined : { errno: status, text: `Exit status ${status}` };
    },
  },
  goto: {
    options: [],
    min: 1,
    max: 1,
    usage: '<label>',
    run: ({ shell, args }) => shell.goto(args[0] ?? ''),
  },
  isset: {
    options: [],
    min: 1,
    max: 1,
    usage: '<value>',
    run: ({ args }) => (args[0] === '' ? ENOENT : undefined),
  },
  iseq: {
    options: [],
    min: 2,
    max: 2,
    usage: '<value1> <value2>',
    run: ({ args }) => (args[0] === args[1] ? undefined : ERANGE),
  },
  sleep: {
    options: [],
    min: 1,
    max: 1,
    usage: '<seconds>',
    run: ({ state, args }) => {
      const seconds = parseInteger(args[0] ?? '', state.console.print);
      if (typeof seconds !== 'number') return seconds;
      state.event({ kind: 'sleep', seconds });
      return undefined;
    },
  },
  prompt: {
    options: [{ long: 'key', short: 'k', kind: 'key' }, TIMEOUT],
    min: 0,
    usage: '[<text>]',
    run: ({ state, args, strings, numbers }) => {
      const text = args.join(' ');
      state.print(`${text}\n`);
      const pressed = state.options.answers?.prompt?.(text);
      if (pressed === undefined) {
        if ((numbers.get('timeout') ?? 0) === 0) throw waiting('prompt');
        return ETIMEDOUT;
      }
      const number = numbers.get('key');
      const wanted = strings.get('key') ?? (number === undefined ? undefined : String.fromCharCode(number));
      return wanted === undefined || wanted === pressed ? undefined : ECANCELED;
    },
  },
  time: {
    build: 'extra',
    options: [],
    min: 1,
    usage: '<command>',
    run: async ({ shell, state, argv }) => {
      const status = await shell.command(argv.slice(1), 'time', 0);
      state.print('time: 0.0s\n');
      return status;
    },
  },
  cpuid: {
    build: 'x86',
    options: [
      { long: 'ext', short: 'e', kind: 'flag' },
      { long: 'amd', short: 'a', kind: 'flag' },
      { long: 'ecx', short: 'c', kind: 'flag' },
    ],
    min: 1,
    max: 1,
    usage: '<bit>',
    run: ({ state, args, flags }) => {
      const bit = parseInteger(args[0] ?? '', state.console.print);
      if (typeof bit !== 'number') return bit;
      // The one question that scripts ask: bit 29 of the extended features is long mode.
      const long = (flags.has('ext') || flags.has('amd')) && !flags.has('ecx') && bit === 29;
      return long ? undefined : ENOENT;
    },
  },
  sync: { options: [TIMEOUT], min: 0, max: 0, run: () => undefined },
  shell: {
    options: [],
    min: 0,
    max: 0,
    run: ({ state }) => {
      throw new Halt({ kind: 'shell', reason: 'the script opened a shell', ...last(state) });
    },
  },
  reboot: {
    options: [
      { long: 'warm', short: 'w', kind: 'flag' },
      { long: 'setup', short: 's', kind: 'flag' },
    ],
    min: 0,
    max: 0,
    run: ({ state }) => {
      throw new Halt({ kind: 'reboot', reason: 'the script rebooted the machine', ...last(state) });
    },
  },
  poweroff: {
    options: [],
    min: 0,
    max: 0,
    run: ({ state }) => {
      throw new Halt({ kind: 'poweroff', reason: 'the script powered the machine off', ...last(state) });
    },
  },
  console: {
    build: 'efi',
    options: [
      ...(['x', 'y', 'left', 'right', 'top', 'bottom', 'depth'] as const).map(
        (long) => ({ long, short: long.charAt(0), kind: 'integer' }) as const,
      ),
      { long: 'picture', short: 'p', kind: 'string' },
      KEEP,
    ],
    min: 0,
    max: 0,
    run: ({ state, strings }) => {
      if (strings.has('picture')) {
        state.print(`Could not use picture: ${ENOTSUP.text}\n`);
        return ENOTSUP;
      }
      return undefined;
    },
  },
  colour: {
    build: 'efi',
    options: [
      { long: 'basic', short: 'b', kind: 'integer' },
      { long: 'rgb', short: 'r', kind: 'integer' },
    ],
    min: 1,
    max: 1,
    usage: '<colour>',
    run: () => undefined,
  },
  cpair: {
    build: 'efi',
    options: [
      { long: 'foreground', short: 'f', kind: 'integer' },
      { long: 'background', short: 'b', kind: 'integer' },
    ],
    min: 1,
    max: 1,
    usage: '<cpair>',
    run: () => undefined,
  },
};

function last(state: State): { refusal?: NonNullable<State['refusals'][number]> } {
  const refusal = state.lastRefusal;
  return refusal === undefined ? {} : { refusal };
}
