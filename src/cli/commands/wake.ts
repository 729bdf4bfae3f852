import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { cannotRead } from '../../errors/io.ts';
import { UsageError } from '../../errors/usage.ts';
import { wake } from '../../operations/wake.ts';
import { act, file, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { promptHidden } from '../passphrases.ts';
import { SUMMARIES } from '../summaries.ts';

interface Options {
  readonly interface?: string;
  readonly broadcast?: string;
  readonly passwordFile?: string;
  readonly askPassword?: boolean;
  readonly port: number;
}

export function wakeCommand(): Command {
  return newCommand('wake', SUMMARIES.wake, 'bootseal wake 52:54:00:12:34:56 --interface eth0')
    .argument('<mac...>', 'whom: six pairs of hexadecimal digits, with : or - between them')
    .option('--interface <name>', 'the card to send from; default: every one with an IPv4 address')
    .option(
      '--broadcast <address>',
      'where to, default 255.255.255.255; another network’s needs its router’s leave',
    )
    .option('--port <n>', 'of UDP', udpPort, 9)
    .option('--password-file <file>', 'of SecureOn, one line: 00:11:22:33:44:55 or 1.2.3.4', file)
    .option('--ask-password', 'ask for it on the terminal')
    .action(
      act<Options>(async ({ terminal }, options, given) => {
        const password = await passwordOf(options);
        const sent = await wake({
          macs: given as unknown as readonly string[],
          port: options.port,
          ...(options.interface === undefined ? {} : { interface: options.interface }),
          ...(options.broadcast === undefined ? {} : { broadcast: options.broadcast }),
          ...(password === undefined ? {} : { password }),
        });
        terminal.json({
          sent: sent.map((each) => ({ ...each, interface: each.interface ?? null, from: each.from ?? null })),
        });
        for (const { mac, interface: name, to, port, bytes } of sent) {
          const from = name === undefined ? '' : ` from ${name}`;
          terminal.print(`${mac}: ${bytes} bytes to ${to} port ${port}${from}. Nobody answers these.`);
        }
        return EXIT.ok;
      }),
    );
}

/** Never a word of the command line: every account of this machine can read those. */
async function passwordOf({ passwordFile, askPassword }: Options): Promise<string | undefined> {
  if (passwordFile !== undefined && askPassword)
    throw new UsageError('Either --password-file or --ask-password.');
  if (passwordFile !== undefined) {
    const text = await readFile(passwordFile, 'utf8').catch((error: unknown) => {
      throw cannotRead(passwordFile, error);
    });
    return text.replace(/\r?\n$/, '');
  }
  if (!askPassword) return undefined;
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new UsageError('There is no terminal to ask for the password; give it with --password-file.');
  const password = await promptHidden('SecureOn password: ');
  if (password === undefined) throw new UsageError('No password was given, so nothing was sent.');
  return password;
}

function udpPort(text: string): number {
  const number = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > 65535) throw new InvalidArgumentError('A port is a number from 1 to 65535.');
  return number;
}
