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

/**
 * Sends one datagram, or loses it: a lost one is what the protocol is made for.
 *
 * @param peer none where the socket is connected to it.
 */
export function sendDatagram(socket: Socket, packet: Buffer, peer?: TftpPeer): void {
  try {
    if (peer === undefined) socket.send(packet);
    else socket.send(packet, peer.port, peer.address);
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

/** Datagrams after which a transfer's socket takes none of strangers any more. */
const SETTLED = 64;

/**
 * A transfer's own socket: its port is the transfer's identifier (RFC 1350 §4). It is bound to the address that was
 * asked: from another one a client would not take the answer.
 *
 * Where a transfer becomes long, the socket is connected to its client. A datagram then costs less, and strangers are
 * turned away by the kernel, with ICMP's "port unreachable" where they had ERROR 5 before: they can wake nobody.
 */
export class TransferSocket {
  readonly #socket: Socket;
  readonly #peer: TftpPeer;
  #sent = 0;
  #connected = false;

  /** @throws what binding ended with, where that failed: no descriptors, no port. */
  constructor({ address, ipv6Only }: Door, peer: TftpPeer) {
    this.#peer = peer;
    this.#socket = datagramSocket(address, ipv6Only);
    let failure: unknown;
    // Later ones say that a client hears us no more (ECONNREFUSED), which anybody can write: its silence tells.
    this.#socket.on('error', (error) => {
      failure = error;
    });
    this.#socket.bind({ address, port: 0, exclusive: true });
    // Without a name to look up, binding is over at once: a table of descriptors that is full shows here.
    if (failure === undefined) return;
    this.#socket.close();
    throw failure;
  }

  /** Resolves when it is closed. */
  get closed(): Promise<void> {
    return closing(this.#socket);
  }

  /** What its client sends, and what a stranger does. */
  hear(client: (bytes: Buffer) => void, stranger: (bytes: Buffer, from: TftpPeer) => void): void {
    const { address, port } = this.#peer;
    this.#socket.on('message', (bytes, from) => {
      if (from.port === port && from.address === address) client(bytes);
      else if (isPeer(from)) stranger(bytes, { address: from.address, port: from.port });
    });
  }

  /** Sends one datagram to the client, or loses it. */
  send(packet: Buffer): void {
    if (this.#connected) {
      sendDatagram(this.#socket, packet);
      return;
    }
    sendDatagram(this.#socket, packet, this.#peer);
    this.#sent += 1;
    if (this.#sent === SETTLED) this.#connect();
  }

  /** The same to a stranger, as long as there are any. */
  tell(packet: Buffer, stranger: TftpPeer): void {
    if (!this.#connected) sendDatagram(this.#socket, packet, stranger);
  }

  close(): void {
    this.#socket.close();
  }

  #connect(): void {
    try {
      this.#socket.connect(this.#peer.port, this.#peer.address);
      // Over at once, too. It throws where that failed: then all goes on as before.
      this.#socket.remoteAddress();
      this.#connected = true;
    } catch {
      // A datagram more that costs what each one did.
    }
  }
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
