import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LAN_ADDRESS, type Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

const SCRIPT = fileURLToPath(new URL('./relay-process.js', import.meta.url));

/**
 * Lets a LAN reach a server of this machine that listens on loopback: at the same port of `LAN_ADDRESS`, by a unix socket
 * in the LAN's folder.
 */
export async function relayInto(lan: Lan, port: number): Promise<RunningServer> {
  const path = join(lan.workFolder, `relay-${port}`);
  const words = (from: object, to: object) => [SCRIPT, JSON.stringify(from), JSON.stringify(to)];
  const here = spawn(process.execPath, words({ path }, { host: '127.0.0.1', port }));
  await waitForOutput(here, 'stdout', /listening/);
  const there = lan.spawn(process.execPath, words({ host: LAN_ADDRESS, port }, { path }));
  await waitForOutput(there, 'stdout', /listening/);
  const ends = [running(there), running(here)];
  return {
    child: there,
    async stop() {
      for (const end of ends) await end.stop();
    },
  };
}
