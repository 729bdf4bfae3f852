import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

/** `bootseal serve` as a process of its own on this machine, which may be killed. */
export interface Replica extends RunningServer {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly nbdPort: number;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** Resolves when its log holds this. */
  heard(words: string): Promise<void>;
}

/** @param words of `serve`, beside the ports. Resolves when it says that it listens. */
export async function startReplica(words: readonly string[]): Promise<Replica> {
  const ports = ['--http-port', '0', '--nbd-port', '0', '--no-tftp'];
  const child = spawn(process.execPath, [MAIN, 'serve', ...words, ...ports], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  let log = '';
  child.stdout.on('data', (piece: Buffer) => {
    printed += piece.toString('utf8');
  });
  child.stderr.on('data', (piece: Buffer) => {
    log += piece.toString('utf8');
  });
  await waitForOutput(child, 'stdout', / on http:/).catch((error: Error) => {
    throw new Error(`${error.message}${log}`);
  });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    ...running(child),
    url: /http:\/\/127\.0\.0\.1:\d+/.exec(printed)?.[0] ?? '',
    nbdPort: Number(/nbd:\/\/127\.0\.0\.1:(\d+)/.exec(printed)?.[1]),
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
    async heard(words) {
      while (!log.includes(words)) await once(child.stderr, 'data');
    },
  };
}
