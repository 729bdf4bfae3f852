import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';

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

/** As another uid would; a program of the system's, since that uid may not be able to read this one. */
const PERL = `
  my $s;
  socket($s, AF_UNIX, SOCK_STREAM, 0) && connect($s, pack_sockaddr_un($ARGV[0])) or die "$!\n";
  syswrite($s, $ARGV[1]);
  shutdown($s, 1);
  print while <$s>;
`;

/** The same as another uid, in a process of its own; only root can. */
export async function sayAs(uid: number, socket: string, text: string): Promise<string> {
  const child = spawn('perl', ['-MSocket', '-e', PERL, socket, text], {
    cwd: '/',
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
