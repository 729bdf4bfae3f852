import { connect, createServer } from 'node:net';
import { LAN_ADDRESS } from './lan.ts';

/**
 * An NBD server that comes and goes: gives on to another port of the lab's address what comes in, and cuts each of the first
 * connections a while after its first read, the second one twice as long after it, and so on.
 *
 *     node cutting-relay.js PORT ONWARD CUTS MILLISECONDS
 */

/** NBD_REQUEST_MAGIC and NBD_CMD_READ, between them no flags. */
const READ = Buffer.from('2560951300000000', 'hex');

const [port = 0, onward = 0, cuts = 0, step = 0] = process.argv.slice(2).map(Number);
let connections = 0;
createServer((socket) => {
  const number = ++connections;
  const server = connect(onward, LAN_ADDRESS);
  const cut = () => {
    socket.destroy();
    server.destroy();
  };
  let reads = false;
  socket.on('data', (piece) => {
    if (!reads && piece.includes(READ)) {
      reads = true;
      if (number <= cuts) setTimeout(cut, number * step);
    }
  });
  socket.pipe(server).pipe(socket);
  for (const end of [socket, server]) end.on('error', cut).on('close', cut);
}).listen(port, LAN_ADDRESS, () => console.log('listening'));
