import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { execute } from './command.ts';
import type { Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

/** TFTP servers of others over a folder, at port 69 of an address of their own. */

/** @param lan where it runs; undefined: here. */
export async function startDnsmasqTftp(root: string, address: string, lan?: Lan): Promise<RunningServer> {
  const child = started(lan)('dnsmasq', [
    ...['--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-', '--user=root', '--pid-file='],
    ...['--port=0', `--listen-address=${address}`, '--bind-interfaces'],
    // Fifty are its default, and the others would be told nothing.
    ...['--enable-tftp', `--tftp-root=${root}`, '--tftp-max=1000'],
  ]);
  await waitForOutput(child, 'stderr', /TFTP root/);
  return running(child);
}

/** tftpd-hpa, a process for each transfer. It says nothing when it listens: `absent` is asked for until it is answered. */
export async function startTftpdHpa(root: string, address: string, lan?: Lan): Promise<RunningServer> {
  const child = started(lan)('in.tftpd', ['-L', '-u', 'root', '-a', `${address}:69`, '-s', root]);
  const ask = ['-s', '-m', '1', `tftp://${address}/absent`];
  // What curl ends with where the server says "file not found".
  const NOT_FOUND = 68;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`in.tftpd ended with ${child.exitCode} before it was ready`);
    const { status } = await (lan ? lan.execute('curl', ask) : execute('curl', ask));
    if (status === NOT_FOUND) return running(child);
  }
}

function started(lan: Lan | undefined): (command: string, words: readonly string[]) => ChildProcess {
  const options: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe'] };
  return (command, words) => (lan ? lan.spawn(command, words) : spawn(command, words, options));
}
