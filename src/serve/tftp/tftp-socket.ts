import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { handedDatagram } from '../handed.ts';
import { ListenError, type ListenTarget, toListenError } from '../listen.ts';
import type { TftpPeer } from './tftp-types.ts';

/** Below are the ports of services that answer anything, such as chargen. */
const FIRST_CLIENT_PORT = 1024;

/**
 * A datagram socket bound to an IP address.
 *
 * Addresses are never looked up: they come from the socket or from the configuration, and Node would
 * otherwise ask its resolver, one turn of the event loop for each datagram.
 *
 * @param ipv6Only of `::`, that IPv4 comes to a socket of its own.
 */
export function datagramSocket(address: string, ipv6Only = false): Socket {
  const family = isIPv6(address) ? 6 : 4;
  return createSocket({
    type: `udp${family}`,
    ipv6Only,
    // Asked for every datagram. IPv4 that comes to a socket of IPv6 is written as IPv6 (::ffff:10.0.0.1).
    lookup: (host, _options, callback) => callback(null, host, family),
  });
}

/** Sends one datagram, or loses it: a lost one is what the protocol is made for. */
export function sendDatagram(socket: Socket, packet: Buffer, { address, port }: TftpPeer): void {
  try {
    socket.send(packet, port, address);
  } catch {
    // Closed meanwhile, or a peer that no datagram can be addressed to.
  }
}

/** False for the port 0 that raw sockets can write on a datagram: nothing can be sent there. */
export function isPeer({ port }: TftpPeer): boolean {
  return port > 0;
}

/**
 * True where a datagram that is no request may be answered with ERROR. Two programs that answer whatever
 * they do not understand would write to each other for ever, once someone has forged the first datagram.
 */
export function mayBeTold({ port }: TftpPeer): boolean {
  return port >= FIRST_CLIENT_PORT;
}

/** A socket at the port that everyone knows. */
export interface Door {
  readonly socket: Socket;
  readonly address: string;
  readonly port: number;
  readonly ipv6Only: boolean;
}

/** @throws ListenError */
export async function openDoor(target: ListenTarget, ipv6Only: boolean): Promise<Door> {
  const { address, port } = target;
  const socket = datagramSocket(address, ipv6Only);
  await new Promise<void>((resolve, reject) => {
    const failed = (error: unknown): void => {
      socket.close();
      reject(toListenError(target, error));
    };
    socket.once('error', failed);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off('error', failed);
      resolve();
    });
  });
  const bound = socket.address();
  if (bound.port === 0) throw new ListenError(target, 'EINVAL');
  return { socket, address: bound.address, port: bound.port, ipv6Only };
}

/**
 * The same with a socket that was handed over. Of `::` it is not known whether IPv4 comes to it, too: transfers that begin
 * there take both.
 *
 * @throws UsageError where the descriptor is no such socket.
 */
export function handedDoor(what: string, fd: number): Door {
  const socket = handedDatagram(what, fd);
  const { address, port } = socket.address();
  return { socket, address, port, ipv6Only: false };
}

/** Resolves when a socket is closed. */
export function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
