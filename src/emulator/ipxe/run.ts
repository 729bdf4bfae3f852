import { parseSettingName } from '../../formats/script/ipxe-tokens.ts';
import type { IpxeCommand } from './command.ts';
import { coreCommands } from './commands-core.ts';
import { imageCommands } from './commands-image.ts';
import { menuCommands } from './commands-menu.ts';
import { netboot, networkCommands } from './commands-network.ts';
import { settingCommands } from './commands-settings.ts';
import { trustCommands } from './commands-trust.ts';
import type { IpxeOptions, IpxeOutcome, IpxeRun } from './contract.ts';
import { createImage } from './download.ts';
import { type RunCommand, Shell } from './execute.ts';
import { ENOEXEC, type Status } from './failure.ts';
import { Halt } from './halt.ts';
import { isExecutable } from './images.ts';
import { parseOptions } from './options.ts';
import { State } from './state.ts';
import { nameOfUri, parseUri } from './uri.ts';

const COMMANDS: ReadonlyMap<string, IpxeCommand> = new Map(
  Object.entries({
    ...coreCommands,
    ...imageCommands,
    ...trustCommands,
    ...settingCommands,
    ...menuCommands,
    ...networkCommands,
  }),
);

/**
 * Runs an emulated iPXE until it hands over, stops or would wait for ever. Resolves with what came of it,
 * a refused boot included; rejects only when a parameter of the run is broken (the verifier, the transport)
 * or `signal` fires.
 *
 * It follows iPXE's sources of 2026-08, quirks and holes included: a script that is unsafe on a real machine
 * must be seen to be unsafe here.
 */
export async function runIpxe(options: IpxeOptions): Promise<IpxeRun> {
  const state = new State(options);
  const shell = new Shell(state, commandRunner(options));
  const outcome = await untilHalt(async () => {
    const status = await start(shell, options);
    return ending(state, status);
  });
  if ('refusal' in outcome && outcome.refusal !== undefined) {
    state.note({ errno: 0, text: '', refusal: outcome.refusal });
  }
  return {
    outcome,
    console: state.console.all(),
    verifications: state.verifications,
    refusals: state.refusals,
  };
}

async function start(shell: Shell, options: IpxeOptions): Promise<Status> {
  const { state } = shell;
  const { script } = options;
  if (script === undefined) return netboot(shell);
  if (script.embedded === true) {
    const image = createImage(state, script.bytes, undefined, 'embedded.ipxe');
    state.images.register(image);
    // An embedded image is selected and trusted from the start: it is part of the binary.
    if (isExecutable(image)) state.images.selected = image;
    image.trusted = isExecutable(image);
    return shell.executeImage(image);
  }
  const uri = parseUri(script.url);
  if (options.machine.dhcp !== undefined) state.configure();
  else state.open = state.configured = true;
  const image = createImage(state, script.bytes, uri, nameOfUri(uri));
  image.trusted = script.trusted === true;
  image.autofree = true;
  state.images.register(image);
  return shell.executeImage(image);
}

/** Which commands there are depends on how this iPXE was built. */
function commandRunner({ machine, features }: IpxeOptions): RunCommand {
  const extra = new Set(features.commands);
  const present = (name: string, { build }: IpxeCommand): boolean =>
    extra.has(name) ||
    build === undefined ||
    (build === 'efi' && machine.platform === 'efi') ||
    (build === 'x86' && /^(x86_64|i386)$/.test(machine.buildarch)) ||
    (build === 'imgtrust' && features.imgtrust);

  return async (shell, argv) => {
    const [name = ''] = argv;
    const command = COMMANDS.get(name);
    const { state } = shell;
    if (command === undefined || !present(name, command)) {
      state.print(`${name}: command not found\n`);
      return ENOEXEC;
    }
    const parsed = parseOptions(argv, command, state.console.print);
    if ('failure' in parsed) return parsed.failure;
    return command.run({ ...parsed, shell, state, argv });
  };
}

async function untilHalt(run: () => Promise<IpxeOutcome>): Promise<IpxeOutcome> {
  try {
    return await run();
  } catch (thrown) {
    if (thrown instanceof Halt) return thrown.outcome;
    throw thrown;
  }
}

/** iPXE has come to its end and gives the machine back to the firmware. */
function ending(state: State, status: Status): IpxeOutcome {
  const refusal = status?.refusal ?? state.lastRefusal;
  const why = refusal === undefined ? {} : { refusal };
  const ended = status === undefined || status.errno < 0x1000000;
  if (ended && state.settings.fetch(parseSettingName('bootseal-next'))?.text === 'local')
    return {
      kind: 'own-disk',
      verified: state.ranVerified,
      reason: 'a script named the disk as what comes next',
    };
  if (status === undefined) return { kind: 'exit', status: 0, reason: 'the script came to its end', ...why };
  if (status.errno < 0x1000000) return { kind: 'exit', status: status.errno, reason: status.text, ...why };
  return { kind: 'refused', reason: status.text, ...why };
}
