import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { codeOf } from '../../errors/io.ts';
import { UsageError } from '../../errors/usage.ts';
import { checkListenTarget, ListenError, toListenError } from '../listen.ts';
import { HandedDhcpSockets, type OnFault } from './dhcp-handed.ts';
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

/** Opens the sockets of a server, or takes those that were handed over. */
export class DhcpSockets {
  readonly #ports: DhcpPorts;
  readonly #fault: OnFault;
  readonly #handed: HandedDhcpSockets | undefined;

  /**
   * @param fds descriptors that were handed over: where there are any, one is needed at port 67 for each that would be
   *   opened there.
   * @throws UsageError for a descriptor that is no such socket.
   */
  constructor(ports: DhcpPorts, fds: readonly number[], fault: OnFault) {
    this.#ports = ports;
    this.#fault = fault;
    if (fds.length > 0) this.#handed = new HandedDhcpSockets(fds, [ports.server, ports.bootServer], fault);
  }

  /**
   * Hears what is sent to all, on every interface, and nothing else: a DHCP server on this machine goes on to hear what
   * is sent to it alone. Node cannot say by which interface a datagram came.
   *
   * @throws ListenError, UsageError
   */
  async receiver(receive: Receive): Promise<Socket> {
    const socket = await this.#at(EVERYBODY, this.#ports.server);
    socket.on('message', receive);
    return socket;
  }

  /**
   * Sends to all by one interface, and by no other: the address that it is bound to decides. Connected, it takes nothing
   * that comes in; without that it would steal a DHCP server of this machine what clients send to it.
   *
   * One that was handed over is not connected, and does steal: it would stay connected for the next process, of which
   * libuv then knows and Node does not, so that neither sends by it.
   *
   * @throws ListenError, UsageError
   */
  async sender(address: string): Promise<Socket> {
    const socket = await this.#at(address, this.#ports.server);
    socket.setBroadcast(true);
    if (this.#handed) return socket;
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(this.#ports.client, EVERYBODY, () => {
        socket.off('error', reject);
        resolve();
      });
    });
    return socket;
  }

  /** Sends to all. @param sender as `sender` gave it. */
  sendToAll(sender: Socket, answer: Buffer): void {
    if (this.#handed) sender.send(answer, this.#ports.client, EVERYBODY);
    else sender.send(answer);
  }

  /**
   * Hears what relays send to one address; answers leave from there. Of sockets that were handed over it is the sender.
   *
   * @throws ListenError, UsageError
   */
  async relayed(address: string, receive: Receive): Promise<Socket> {
    const socket = await this.#at(address, this.#ports.server);
    socket.on('message', receive);
    return socket;
  }

  /**
   * Hears what machines ask at port 4011 of one address; answers leave from there.
   *
   * @throws ListenError
   */
  async bootServer(address: string, receive: Receive): Promise<Socket> {
    const port = this.#ports.bootServer;
    const socket = this.#handed?.at(address, port) ?? (await bound(address, port, false, this.#fault));
    socket.on('message', receive);
    return socket;
  }

  /** A socket that is not needed now. */
  async end(socket: Socket): Promise<void> {
    if (this.#handed?.has(socket)) {
      socket.removeAllListeners('message');
      return;
    }
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
      socket.close();
    });
  }

  /** When every socket has ended. */
  close(): void {
    this.#handed?.close();
  }

  async #at(address: string, port: number): Promise<Socket> {
    if (this.#handed === undefined) return bound(address, port, true, this.#fault);
    const socket = this.#handed.at(address, port);
    if (socket !== undefined) return socket;
    throw new UsageError(
      `DHCP was handed sockets, and none at ${address} port ${port}; its socket unit needs ListenDatagram=${address}:${port}.`,
    );
  }
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
