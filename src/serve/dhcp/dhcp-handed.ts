import type { Socket } from 'node:dgram';
import { UsageError } from '../../errors/usage.ts';
import { handedDatagram } from '../handed.ts';

/** Told of what goes wrong after a socket was opened. */
export type OnFault = (error: unknown, what: string) => void;

/**
 * Sockets of DHCP that were handed over, found by where they are bound. They stay open while addresses come and go under
 * a server that runs on: it could not open another.
 */
export class HandedDhcpSockets {
  readonly #all = new Map<string, Socket>();

  /** @throws UsageError where a descriptor is none, is bound to a port that nobody asks at, or where another one is. */
  constructor(fds: readonly number[], ports: readonly number[], fault: OnFault) {
    try {
      for (const fd of fds) this.#add(handedDatagram('DHCP', fd), ports, fault);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Undefined where there is none. */
  at(address: string, port: number): Socket | undefined {
    return this.#all.get(keyOf(address, port));
  }

  has(socket: Socket): boolean {
    return [...this.#all.values()].includes(socket);
  }

  close(): void {
    for (const socket of this.#all.values()) socket.close();
  }

  #add(socket: Socket, ports: readonly number[], fault: OnFault): void {
    const { address, port } = socket.address();
    const key = keyOf(address, port);
    const wrong = !ports.includes(port)
      ? `; it listens at the ports ${ports.join(' and ')} alone`
      : this.#all.has(key)
        ? ' twice; its socket unit needs it once'
        : undefined;
    if (wrong !== undefined) {
      socket.close();
      throw new UsageError(`DHCP was handed a socket at ${address} port ${port}${wrong}.`);
    }
    socket.on('error', (error) => fault(error, `send from ${address}`));
    this.#all.set(key, socket);
  }
}

function keyOf(address: string, port: number): string {
  return `${address} ${port}`;
}
