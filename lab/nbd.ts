import { fileURLToPath } from 'node:url';
import { LAN_ADDRESS, type Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

const SCRIPT = fileURLToPath(new URL('./nbd-server.js', import.meta.url));

/** Files as NBD exports, by the names of the exports, as they are at the moment of each read. */
export async function startNbd(lan: Lan, exports: Readonly<Record<string, string>>): Promise<RunningServer> {
  const child = lan.spawn(process.execPath, [SCRIPT, LAN_ADDRESS, '10809', JSON.stringify(exports)]);
  await waitForOutput(child, 'stdout', /^listening /m);
  // Killed, as a server that fails is.
  return running(child, 'SIGKILL');
}
