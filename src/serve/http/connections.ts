import type { Socket } from 'node:net';
import type { Exchange } from './http-exchange.ts';

/** What one client connection has under way. */
export interface Connection {
  readonly socket: Socket;
  /** Peer address; it stays known after the socket has closed. */
  readonly remote: string;
  /** Requests that were received and whose response has not closed. */
  outstanding: number;
  /** The exchange whose turn it is. */
  current: Exchange | undefined;
}

/** The connections of one server: who holds how many, and which are idle when it closes. */
export class Connections {
  readonly #all = new Map<Socket, Connection>();
  readonly #perAddress = new Map<string, number>();
  readonly #mostPerAddress: number;

  /** @param mostPerAddress connections of one address; Infinity sets no bound. */
  constructor(mostPerAddress: number) {
    this.#mostPerAddress = mostPerAddress;
  }

  /** Takes a new connection in, or answers undefined where its address has too many. */
  admit(socket: Socket): Connection | undefined {
    const remote = socket.remoteAddress ?? '';
    const count = this.#perAddress.get(remote) ?? 0;
    if (count >= this.#mostPerAddress) return undefined;
    this.#perAddress.set(remote, count + 1);
    const connection: Connection = { socket, remote, outstanding: 0, current: undefined };
    this.#all.set(socket, connection);
    socket.once('close', () => {
      this.#all.delete(socket);
      const left = (this.#perAddress.get(remote) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(remote);
      else this.#perAddress.set(remote, left);
    });
    return connection;
  }

  of(socket: Socket): Connection | undefined {
    return this.#all.get(socket);
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
