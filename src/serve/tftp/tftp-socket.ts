import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { TftpPeer } from './tftp-types.ts';

/** Below are the ports of services that answer anything, such as chargen. */
const FIRST_CLIENT_PORT = 1024;

/**
 * A datagram socket bound to an IP address.
 *
 * Addresses are never looked up: they come from the socket or from the configuration, and Node would
 * otherwise ask its resolver, one turn of the event loop for each datagram.
 */
export function datagramSocket(address: string): Socket {
  return createSocket({
    type: isIPv6(address) ? 'udp6' : 'udp4',
    lookup: (host, _options, callback) => callback(null, host, isIPv6(host) ? 6 : 4),
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
