#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { EXIT } from './exit.ts';
import { watchOutput } from './output.ts';
import { report } from './report.ts';
import { Terminal } from './terminal.ts';

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('bootseal')
  .description('Netboot with verified chain loading: seal a release, serve it, prove what a machine runs.')
  .version(version)
  .showHelpAfterError('(--help tells more)');
/** In the order of the help. Each is loaded when it is called: a command that signs nothing waits for no signer. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  init: async () => (await import('./commands/init.ts')).initCommand(),
  seal: async () => (await import('./commands/seal.ts')).sealCommand(),
  pack: async () => (await import('./commands/pack.ts')).packCommand(),
  request: async () => (await import('./commands/request.ts')).requestCommand(),
  'sign-request': async () => (await import('./commands/request.ts')).signRequestCommand(),
  attach: async () => (await import('./commands/request.ts')).attachCommand(),
  verify: async () => (await import('./commands/verify.ts')).verifyCommand(),
  inspect: async () => (await import('./commands/inspect.ts')).inspectCommand(),
  tamper: async () => (await import('./commands/tamper.ts')).tamperCommand(),
  publish: async () => (await import('./commands/publish.ts')).publishCommand(),
  policy: async () => (await import('./commands/policy.ts')).policyCommand(),
  channel: async () => (await import('./commands/channel.ts')).channelCommand(),
  machines: async () => (await import('./commands/machines.ts')).machinesCommand(),
  withdraw: async () => (await import('./commands/withdraw.ts')).withdrawCommand(),
  state: async () => (await import('./commands/state.ts')).stateCommand(),
  resign: async () => (await import('./commands/resign.ts')).resignCommand(),
  serve: async () => (await import('./commands/serve.ts')).serveCommand(),
  token: async () => (await import('./commands/token.ts')).tokenCommand(),
  keyholder: async () => (await import('./commands/keyholder.ts')).keyholderCommand(),
  uki: async () => (await import('./commands/uki.ts')).ukiCommand(),
  overlay: async () => (await import('./commands/overlay.ts')).overlayCommand(),
  boot: async () => (await import('./commands/boot.ts')).bootCommand(),
  loaders: async () => (await import('./commands/loaders.ts')).loadersCommand(),
  'dhcp-config': async () => (await import('./commands/dhcp-config.ts')).dhcpConfigCommand(),
  boots: async () => (await import('./commands/boots.ts')).bootsCommand(),
  wake: async () => (await import('./commands/wake.ts')).wakeCommand(),
  log: async () => (await import('./commands/log.ts')).logCommand(),
  keyring: async () => (await import('./commands/keyring.ts')).keyringCommand(),
  keys: async () => (await import('./commands/keys.ts')).keysCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  demo: async () => (await import('./commands/demo.ts')).demoCommand(),
};
// What stands behind a command's name is that command's to read, and behind its own command's name that one's.
program.enablePositionalOptions();
const called = process.argv[2] ?? '';
const names = Object.hasOwn(COMMANDS, called) ? [called] : Object.keys(COMMANDS);
for (const name of names) {
  const command = await COMMANDS[name]?.();
  if (command) program.addCommand(command);
}

// Commander ends the process itself on a wrong flag, with 1; a usage error is 2 here.
for (const command of [
  program,
  ...program.commands,
  ...program.commands.flatMap(({ commands }) => commands),
]) {
  command.exitOverride();
}

// One object, whatever happens: a program that reads it must not have to guess from an empty line.
const json = process.argv.includes('--json');
watchOutput(json);
const terminal = new Terminal({ json, quiet: false });
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error.exitCode !== 0) terminal.json({ error: error.message });
  } else process.exitCode = report(terminal, error);
}
