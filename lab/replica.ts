import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { LAN_ADDRESS, type Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

/** `bootseal serve` as a process of its own on this machine, which may be killed. */
export interface Replica extends RunningServer {
  /** `http://ADDRESS:PORT` */
  readonly url: string;
  readonly nbdPort: number;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** Resolves when its log holds this. */
  heard(words: string): Promise<void>;
}

/**
 * @param words of `serve`, beside the ports. Resolves when it says that it listens.
 * @param lan where it runs, at `LAN_ADDRESS`; default: on loopback.
 */
export async function startReplica(words: readonly string[], lan?: Lan): Promise<Replica> {
  const address = lan ? LAN_ADDRESS : '127.0.0.1';
  const ports = ['--bind', address, '--http-port', '0', '--nbd-port', '0', '--no-tftp'];
  const line = [MAIN, 'serve', ...words, ...ports];
  const child = lan
    ? lan.spawn(process.execPath, line)
    : spawn(process.execPath, line, { stdio: ['ignore', 'pipe', 'pipe'] });
  const { stdout, stderr } = child;
  if (!stdout || !stderr) throw new Error('its output is piped');
  let printed = '';
  let log = '';
  stdout.on('data', (piece: Buffer) => {
    printed += piece.toString('utf8');
  });
  stderr.on('data', (piece: Buffer) => {
    log += piece.toString('utf8');
  });
  await waitForOutput(child, 'stdout', / on http:/).catch((error: Error) => {
    throw new Error(`${error.message}${log}`);
  });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    ...running(child),
    url: /http:\/\/[\d.]+:\d+/.exec(printed)?.[0] ?? '',
    nbdPort: Number(/nbd:\/\/[\d.]+:(\d+)/.exec(printed)?.[1]),
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
    async heard(words) {
      while (!log.includes(words)) await once(stderr, 'data');
    },
  };
}
