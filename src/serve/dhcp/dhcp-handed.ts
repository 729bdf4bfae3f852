import type { Socket } from 'node:dgram';
import { UsageError } from '../../errors/usage.ts';
import { handedDatagram } from '../handed.ts';

/** Told of what goes wrong after a socket was opened. */
export type OnFault = (error: unknown, what: string) => void;

/**
 * Sockets of DHCP that were handed over, found by where they are bound. One that is given back is there for the next who
 * asks: addresses come and go under a server that runs on, and it could not open another. It stays as it is, in order too,
 * and so does what whoever handed it over still has: a sender that is connected takes nothing while no server runs.
 */
export class HandedDhcpSockets {
  readonly #free = new Map<string, Socket[]>();
  readonly #all: Socket[] = [];

  /** @throws UsageError where a descriptor is none, or bound to a port that is not asked at. */
  constructor(fds: readonly number[], ports: readonly number[], fault: OnFault) {
    try {
      for (const fd of fds) {
        const socket = handedDatagram('DHCP', fd);
        this.#all.push(socket);
        const { address, port } = socket.address();
        if (!ports.includes(port))
          throw new UsageError(
            `DHCP was handed a socket at ${address} port ${port}; it listens at the ports ${ports.join(' and ')} alone.`,
          );
        socket.on('error', (error) => fault(error, `send from ${address}`));
        this.#giveBack(socket);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Undefined where there is none (any more). */
  take(address: string, port: number): Socket | undefined {
    return this.#free.get(keyOf(address, port))?.shift();
  }

  /** @returns false for a socket that is none of these. */
  giveBack(socket: Socket): boolean {
    if (!this.#all.includes(socket)) return false;
    socket.removeAllListeners('message');
    this.#giveBack(socket);
    return true;
  }

  close(): void {
    for (const socket of this.#all) socket.close();
  }

  #giveBack(socket: Socket): void {
    const { address, port } = socket.address();
    const key = keyOf(address, port);
    this.#free.set(key, [...(this.#free.get(key) ?? []), socket]);
  }
}

function keyOf(address: string, port: number): string {
  return `${address} ${port}`;
}
