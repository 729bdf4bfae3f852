import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

/** Clients of a keyholder that say whatever they like. */

/** Sends bytes, ends unless told not to, and answers what came until the other side ended. */
export async function say(socket: string, text: string | Uint8Array, end = true): Promise<string> {
  const connection = connect({ path: socket, allowHalfOpen: true });
  connection.on('error', () => {});
  let said = '';
  connection.setEncoding('utf8').on('data', (piece: string) => {
    said += piece;
  });
  const over = Promise.race([once(connection, 'end'), once(connection, 'close')]);
  if (end) connection.end(text);
  else connection.write(text);
  await over;
  connection.destroy();
  return said;
}

const CHILD = fileURLToPath(new URL('raw-child.js', import.meta.url));

/** The same as another uid, in a process of its own; only root can. */
export async function sayAs(uid: number, socket: string, text: string): Promise<string> {
  const child = spawn(process.execPath, [CHILD, socket, text], {
    uid,
    gid: uid,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    said += piece;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`the other client ended with ${code}`);
  return said;
}
