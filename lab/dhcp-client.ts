import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

/**
 * The ports of a machine that boots, in a process that lives where its card is:
 *
 *     node dhcp-client.js
 *
 * sends what a line of standard input says, `PORT ADDRESS TO-PORT HEX`, from its port 68 or 4011, and prints what it
 * hears as `PORT ADDRESS FROM-PORT HEX`.
 */
const ports = [68, 4011];
const sockets = new Map(
  await Promise.all(
    ports.map(async (port) => {
      const socket = createSocket({
        type: 'udp4',
        lookup: (host, _options, callback) => callback(null, host, 4),
      });
      await new Promise<void>((resolve) => socket.bind(port, '0.0.0.0', resolve));
      socket.setBroadcast(true);
      socket.on('message', (bytes, from) => {
        process.stdout.write(`${port} ${from.address} ${from.port} ${bytes.toString('hex')}\n`);
      });
      return [port, socket] as const;
    }),
  ),
);
process.stdout.write('listening\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [port, address, to, hex = ''] = line.split(' ');
  sockets.get(Number(port))?.send(Buffer.from(hex, 'hex'), Number(to), address);
}
