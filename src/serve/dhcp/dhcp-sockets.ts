import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { codeOf } from '../../errors/io.ts';
import { checkListenTarget, ListenError, toListenError } from '../listen.ts';
import { portHolder } from './port-holder.ts';

/** UDP ports: 67 and 68 (RFC 2131 §4.1), 4011 (PXE 2.1 §2.2). */
export interface DhcpPorts {
  readonly server: number;
  readonly client: number;
  readonly bootServer: number;
}

export const DHCP_PORTS: DhcpPorts = { server: 67, client: 68, bootServer: 4011 };

const EVERYBODY = '255.255.255.255';

export type Receive = (bytes: Buffer, from: RemoteInfo) => void;
export type OnFault = (error: unknown, what: string) => void;

/**
 * Hears what is sent to all, on every interface, and nothing else: a DHCP server on this machine goes on to hear what
 * is sent to it alone. Node cannot say by which interface a datagram came.
 *
 * @throws ListenError
 */
export async function openReceiver({ server }: DhcpPorts, receive: Receive, fault: OnFault): Promise<Socket> {
  const socket = await bound(EVERYBODY, server, true, fault);
  socket.on('message', receive);
  return socket;
}

/**
 * Sends to all by one interface, and by no other: the address that it is bound to decides. Connected, it takes nothing
 * that comes in; without that it would steal a DHCP server of this machine what clients send to it.
 *
 * @throws ListenError
 */
export async function openSender(
  { server, client }: DhcpPorts,
  address: string,
  fault: OnFault,
): Promise<Socket> {
  const socket = await bound(address, server, true, fault);
  socket.setBroadcast(true);
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.connect(client, EVERYBODY, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  return socket;
}

/**
 * Hears what is sent to one address: of relays at 67, of machines at 4011; answers leave from there.
 *
 * @throws ListenError
 */
export async function openUnicast(
  address: string,
  port: number,
  shared: boolean,
  receive: Receive,
  fault: OnFault,
): Promise<Socket> {
  const socket = await bound(address, port, shared, fault);
  socket.on('message', receive);
  return socket;
}

export function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.close();
  });
}

async function bound(address: string, port: number, shared: boolean, fault: OnFault): Promise<Socket> {
  const target = { what: 'DHCP', address, port };
  checkListenTarget(target);
  const socket = createSocket({
    type: 'udp4',
    reuseAddr: shared,
    // Nothing is looked up: addresses come from datagrams and from interfaces.
    lookup: (host, _options, callback) => callback(null, host, 4),
  });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address, port, exclusive: true }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    socket.close();
    const code = codeOf(error);
    if (code !== 'EADDRINUSE') throw toListenError(target, error);
    throw new ListenError({ ...target, taken: await portHolder(port) }, code, { cause: error });
  }
  socket.on('error', (error) => fault(error, `send from ${address}`));
  return socket;
}
