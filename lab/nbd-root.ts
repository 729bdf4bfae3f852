import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A machine's root on NBD, as far as a test needs it: the fixed newstyle handshake by NBD_OPT_EXPORT_NAME, then reads. */
export interface NbdRoot {
  read(offset: number, length: number): Promise<Buffer>;
  close(): void;
}

/** @throws Error where the server ends the connection. */
export async function connected(port: number, name: string, host = '127.0.0.1'): Promise<NbdRoot> {
  const socket = connect(port, host);
  const next = reader(socket);
  await once(socket, 'connect');
  await next(18);
  const option = Buffer.alloc(4 + 16);
  option.writeUInt32BE(3, 0);
  option.write('IHAVEOPT', 4);
  option.writeUInt32BE(1, 12);
  option.writeUInt32BE(Buffer.byteLength(name), 16);
  socket.write(Buffer.concat([option, Buffer.from(name)]));
  await next(10);
  return {
    async read(offset, length) {
      const request = Buffer.alloc(28);
      request.writeUInt32BE(0x25609513, 0);
      request.writeBigUInt64BE(BigInt(offset), 16);
      request.writeUInt32BE(length, 24);
      socket.write(request);
      const reply = await next(16);
      if (reply.readUInt32BE(4) !== 0) throw new Error(`NBD error ${reply.readUInt32BE(4)}`);
      return next(length);
    },
    close: () => socket.destroy(),
  };
}

function reader(socket: Socket): (length: number) => Promise<Buffer> {
  let held = Buffer.alloc(0);
  let wake = () => {};
  let over: Error | undefined;
  socket.on('data', (piece) => {
    held = Buffer.concat([held, piece]);
    wake();
  });
  for (const event of ['close', 'error'] as const) {
    socket.on(event, () => {
      over ??= new Error('the server ended the connection');
      wake();
    });
  }
  return async (length) => {
    while (held.length < length) {
      if (over) throw over;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const piece = held.subarray(0, length);
    held = held.subarray(length);
    return piece;
  };
}
