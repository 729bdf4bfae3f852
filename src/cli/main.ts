#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { bootCommand } from './commands/boot.ts';
import { channelCommand } from './commands/channel.ts';
import { demoCommand } from './commands/demo.ts';
import { initCommand } from './commands/init.ts';
import { keyringCommand } from './commands/keyring.ts';
import { keysCommand } from './commands/keys.ts';
import { loadersCommand } from './commands/loaders.ts';
import { publishCommand } from './commands/publish.ts';
import { sealCommand } from './commands/seal.ts';
import { serveCommand } from './commands/serve.ts';
import { tamperCommand } from './commands/tamper.ts';
import { verifyCommand } from './commands/verify.ts';
import { EXIT } from './exit.ts';

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('bootseal')
  .description('Netboot with verified chain loading: seal a release, serve it, prove what a machine runs.')
  .version(version)
  .showHelpAfterError('(--help tells more)');
for (const command of [
  initCommand(),
  sealCommand(),
  verifyCommand(),
  tamperCommand(),
  publishCommand(),
  channelCommand(),
  serveCommand(),
  bootCommand(),
  loadersCommand(),
  keyringCommand(),
  keysCommand(),
  demoCommand(),
]) {
  program.addCommand(command);
}

// Commander ends the process itself on a wrong flag, with 1; a usage error is 2 here.
for (const command of [
  program,
  ...program.commands,
  ...program.commands.flatMap(({ commands }) => commands),
]) {
  command.exitOverride();
}

// A reader that goes away (`| head`) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  // One object, whatever happens: a program that reads it must not have to guess from an empty line.
  if (error.exitCode !== 0 && process.argv.includes('--json'))
    process.stdout.write(`${JSON.stringify({ error: error.message })}\n`);
}
