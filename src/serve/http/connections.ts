import type { Socket } from 'node:net';
import type { Outcome } from '../../release/server-event.ts';
import { FairSlots, type Holder } from '../fair-slots.ts';
import type { Share, Shares } from '../shares.ts';

/** A response that is under way. */
export interface Underway {
  /** Bytes that the client asked for and has not taken. */
  readonly owed: number;
  /** Cuts it off, so that the client sees fewer bytes than it was promised. */
  cut(outcome: Outcome): void;
}

/**
 * True where what was written to a socket has left, asked when Node calls back, or a response says `finish`: it does so, without
 * an error, for what was lost with a socket that was destroyed, too, and calls it `writableFinished`.
 */
export function hasLeft({ destroyed, errored }: Socket): boolean {
  return !destroyed && errored === null;
}

/** What one client connection has under way. */
export class Connection implements Holder {
  /** Over TLS: the encrypted one, once hands were shaken. */
  socket: Socket;
  encrypted = false;
  /** Peer address; it stays known after the socket has closed. */
  readonly remote: string;
  readonly port: number;
  readonly share: Share;
  /** It has answered a SYN. */
  readonly proven = true;
  /** True where there was no room for it but for pages that must always answer. */
  reserved = false;
  /** Requests that were received and whose response has not closed. */
  outstanding = 0;
  /** The response whose turn it is. */
  current: Underway | undefined;

  constructor(socket: Socket, share: Share) {
    this.socket = socket;
    this.remote = socket.remoteAddress ?? '';
    this.port = socket.remotePort ?? 0;
    this.share = share;
  }

  get owed(): number {
    return this.current?.owed ?? 0;
  }

  get spare(): boolean {
    return this.outstanding === 0;
  }

  giveWay(): void {
    this.current?.cut('gave-way');
    this.socket.destroy();
  }
}

/** The connections of one server: who is let in, and which are idle when it closes. */
export class Connections {
  readonly #shares: Shares;
  readonly #all = new Map<Socket, Connection>();
  /** Those that have not shaken hands yet, by both ends. */
  readonly #handshakes = new Map<string, Connection>();
  readonly #welcome: FairSlots<Connection>;
  readonly #reserve: FairSlots<Connection>;

  /** @param most connections. @param reserve connections beyond them, for pages that must always answer. */
  constructor(most: number, reserve: number, shares: Shares) {
    this.#shares = shares;
    this.#welcome = new FairSlots(most);
    this.#reserve = new FairSlots(reserve);
  }

  get size(): number {
    return this.#all.size;
  }

  /**
   * Takes a new connection in, or answers undefined where there is no room even in the reserve.
   *
   * @param handshake it will speak TLS, and `secured` tells when.
   */
  admit(socket: Socket, handshake = false): Connection | undefined {
    const connection = new Connection(socket, this.#shares.of(socket.remoteAddress ?? ''));
    const slots = this.#welcome.admit(connection) ? this.#welcome : this.#reserve;
    if (slots === this.#reserve) {
      connection.reserved = true;
      if (!this.#reserve.admit(connection)) return undefined;
    }
    this.#all.set(socket, connection);
    const ends = endsOf(socket);
    if (handshake) this.#handshakes.set(ends, connection);
    socket.once('close', () => {
      this.#all.delete(connection.socket);
      if (this.#handshakes.get(ends) === connection) this.#handshakes.delete(ends);
      slots.leave(connection);
    });
    return connection;
  }

  /** A connection that was admitted speaks TLS from now on, by another socket. False where it is gone. */
  secured(socket: Socket): boolean {
    const ends = endsOf(socket);
    const connection = this.#handshakes.get(ends);
    this.#handshakes.delete(ends);
    if (connection === undefined || !this.#all.delete(connection.socket)) return false;
    connection.socket = socket;
    connection.encrypted = true;
    this.#all.set(socket, connection);
    return true;
  }

  of(socket: Socket): Connection | undefined {
    return this.#all.get(socket);
  }

  /** The system has no more descriptors: the address that holds most gives one up. */
  relieve(): void {
    this.#welcome.relieve();
  }

  /** Destroys those with no request under way: idle ones, and those whose first header never came. */
  destroyIdle(): void {
    for (const connection of this.#all.values()) {
      if (connection.outstanding === 0) connection.socket.destroy();
    }
  }

  /** Destroys all; running responses end as `closed`. */
  destroyAll(): void {
    for (const { socket, current } of this.#all.values()) {
      current?.cut('closed');
      socket.destroy();
    }
  }
}

/** The four numbers that tell TCP connections apart; a socket of TLS has those of the one that it wraps. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return [remoteAddress, remotePort, localAddress, localPort].join(' ');
}
