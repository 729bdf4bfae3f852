import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net';

/**
 * Gives on what comes in at one place to another, both as JSON: `{"path": …}` a unix socket, or `{"host": …, "port": …}`.
 * A unix socket is the same file in every network namespace, so two of these reach from one into another.
 */
const [from, to] = process.argv.slice(2).map((text) => JSON.parse(text) as NetConnectOpts);
if (!from || !to) throw new Error('relay-process FROM TO');

const join = (one: Socket, other: Socket): void => {
  one.pipe(other);
  one.on('error', () => other.destroy());
  one.on('close', () => other.destroy());
};

createServer({ allowHalfOpen: true }, (socket) => {
  const onward = connect({ ...to, allowHalfOpen: true } as NetConnectOpts);
  join(socket, onward);
  join(onward, socket);
}).listen(from, () => console.log('listening'));
