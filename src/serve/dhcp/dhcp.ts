import type { RemoteInfo, Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { Malformed } from '../../errors/malformed.ts';
import { UsageError } from '../../errors/usage.ts';
import { type DhcpPacket, decodeDhcp } from '../../formats/net/dhcp.ts';
import { DHCP_OPTION } from '../../formats/net/dhcp-options.ts';
import { dhcpText } from '../../formats/net/dhcp-values.ts';
import type { IpPrefix } from '../../formats/net/ip-address.ts';
import type { DhcpAsking, DhcpSilence } from '../../release/server-event.ts';
import { askedText } from '../asked.ts';
import type { Emit } from '../emit.ts';
import { AnswerRate } from './answer-rate.ts';
import { dhcpAnswer, offeredFile } from './dhcp-answer.ts';
import { dhcpMac } from './dhcp-client.ts';
import { type DhcpPlan, decideDhcp } from './dhcp-decide.ts';
import { demandInterfaces, dhcpInterface, type InterfaceTable } from './dhcp-interfaces.ts';
import { DHCP_PORTS, type DhcpPorts, DhcpSockets } from './dhcp-sockets.ts';
import type {
  DhcpArrival,
  DhcpClient,
  DhcpDecision,
  DhcpInterface,
  DhcpLoaders,
  DhcpTerms,
} from './dhcp-types.ts';
import { MacTable } from './mac-table.ts';

export interface ProxyDhcpOptions {
  /** Names of the interfaces on which machines are answered. */
  readonly interfaces: readonly string[];
  readonly relays?: readonly IpPrefix[];
  readonly networks?: readonly IpPrefix[];
  /** What each kind of client is told to load, now. */
  readonly loaders: () => DhcpLoaders;
  /** Of URLs. */
  readonly httpPort: number;
  readonly tftpAtOnce?: boolean;
  /** Whether iPXE is told to send its console's lines here, to port 514. */
  readonly logServer?: boolean;
  /** Whether what is offered is served at an address. Default: at all. */
  readonly serves?: (address: string) => boolean;
  /** Answers from memory, at once: firmware waits for seconds only. Default: every machine boots. */
  readonly decide?: (client: DhcpClient) => DhcpDecision;
  /** Whether the operator knows a machine: it is answered while strangers flood. Default: none. */
  readonly isKnown?: (mac: string) => boolean;
  readonly emit: Emit;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
  /** Milliseconds between looks at the interfaces. */
  readonly followMs?: number;
  readonly table?: () => InterfaceTable;
  readonly ports?: DhcpPorts;
  /** Descriptors of sockets that were handed over, each found by where it is bound (`DhcpSockets`). */
  readonly sockets?: readonly number[] | undefined;
}

export interface ProxyDhcp {
  /** Those that have an address now. */
  readonly interfaces: readonly DhcpInterface[];
  /** Looks at once whether addresses have changed, and resolves when that is followed. */
  follow(): Promise<void>;
  close(): Promise<void>;
}

/** One interface's sockets. */
interface Edge extends DhcpInterface {
  readonly sender: Socket;
  readonly relayed: Socket | undefined;
  readonly bootServer: Socket;
}

const FOLLOW_MS = 5_000;
/** Transactions whose first message was told. */
const MOST_TOLD = 4_096;
/** Bytes that are shown of what a client says that it is. */
const MOST_SHOWN = 64;

/**
 * Answers machines that boot from the network, beside a DHCP server that gives them addresses, until it is closed.
 *
 * @throws UsageError where an interface is none, or has no address; ListenError.
 */
export async function startProxyDhcp(options: ProxyDhcpOptions): Promise<ProxyDhcp> {
  const server = new Server(options);
  await server.listen();
  return server;
}

class Server implements ProxyDhcp {
  readonly #options: ProxyDhcpOptions;
  readonly #fault = (error: unknown, what: string): void => {
    this.#options.emit({ kind: 'fault', server: 'dhcp', error, what });
  };
  readonly #ports: DhcpPorts;
  readonly #sockets: DhcpSockets;
  readonly #rate: AnswerRate;
  readonly #isKnown: (mac: string) => boolean;
  readonly #told = new MacTable<true>(MOST_TOLD);
  #receiver: Socket | undefined;
  #edges: readonly Edge[] = [];
  /** What was last said of each interface. */
  readonly #states = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #following: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(options: ProxyDhcpOptions) {
    this.#options = options;
    this.#ports = options.ports ?? DHCP_PORTS;
    this.#sockets = new DhcpSockets(this.#ports, options.sockets ?? [], this.#fault);
    this.#rate = new AnswerRate(options.now ?? (() => performance.now()));
    this.#isKnown = options.isKnown ?? (() => false);
  }

  get interfaces(): readonly DhcpInterface[] {
    return this.#edges.map(({ name, address, network }) => ({ name, address, network }));
  }

  async listen(): Promise<void> {
    const { interfaces, serves = () => true } = this.#options;
    try {
      if (interfaces.length === 0) throw new UsageError('ProxyDHCP needs an interface.');
      const found = demandInterfaces(interfaces, this.#table());
      for (const { name, address } of found) {
        if (!serves(address)) throw new UsageError(notServed(name, address));
      }
      this.#receiver = await this.#sockets.receiver((bytes, from) => this.#receive(bytes, from, undefined));
      for (const each of found) {
        this.#edges = [...this.#edges, await this.#open(each)];
        this.#states.set(each.name, each.address);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#timer = setInterval(() => void this.follow(), this.#options.followMs ?? FOLLOW_MS);
    this.#timer.unref();
  }

  follow(): Promise<void> {
    this.#following = this.#following.then(() => this.#follow());
    return this.#following;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#following;
    const edges = this.#edges;
    this.#edges = [];
    await Promise.all([
      ...edges.map((edge) => this.#end(edge)),
      this.#receiver && this.#sockets.end(this.#receiver),
    ]);
    this.#sockets.close();
  }

  #table(): InterfaceTable {
    return (this.#options.table ?? networkInterfaces)();
  }

  async #open(each: DhcpInterface): Promise<Edge> {
    const { address } = each;
    const opened: Socket[] = [];
    const keep = async (opening: Promise<Socket>): Promise<Socket> => {
      const socket = await opening;
      opened.push(socket);
      return socket;
    };
    const hear = (bytes: Buffer, from: RemoteInfo) => this.#receive(bytes, from, address);
    const answer = (bytes: Buffer, from: RemoteInfo) => this.#receive(bytes, from, address, 'boot-server');
    try {
      const relays = this.#options.relays ?? [];
      return {
        ...each,
        sender: await keep(this.#sockets.sender(address)),
        bootServer: await keep(this.#sockets.bootServer(address, answer)),
        // Whoever listens here hears what clients send to a DHCP server of this machine: only where it is needed.
        relayed: relays.length > 0 ? await keep(this.#sockets.relayed(address, hear)) : undefined,
      };
    } catch (error) {
      await Promise.all(opened.map((socket) => this.#sockets.end(socket)));
      throw error;
    }
  }

  async #end({ sender, relayed, bootServer }: Edge): Promise<void> {
    await Promise.all([sender, relayed, bootServer].map((socket) => socket && this.#sockets.end(socket)));
  }

  /** Addresses come and go under a server that runs for months. */
  async #follow(): Promise<void> {
    if (this.#closed !== undefined) return;
    const table = this.#table();
    for (const name of this.#options.interfaces) {
      const now = dhcpInterface(name, table);
      const edge = this.#edges.find((each) => each.name === name);
      if (edge !== undefined && edge.address === now?.address && edge.network.length === now.network.length)
        continue;
      if (edge !== undefined) {
        this.#edges = this.#edges.filter((each) => each !== edge);
        await this.#end(edge);
      }
      const why = await this.#begin(name, now);
      const state = why ?? now?.address ?? '';
      if (this.#states.get(name) === state) continue;
      this.#states.set(name, state);
      this.#options.emit({
        ...{ kind: 'interface', server: 'dhcp', interface: name },
        ...(now === undefined ? {} : { address: now.address }),
        ...(why === undefined ? {} : { why }),
      });
    }
  }

  /** @returns why nobody is answered there. */
  async #begin(name: string, now: DhcpInterface | undefined): Promise<string | undefined> {
    const { serves = () => true } = this.#options;
    if (now === undefined) return `The interface ${name} has no IPv4 address any more.`;
    if (!serves(now.address)) return notServed(name, now.address);
    try {
      this.#edges = [...this.#edges, await this.#open(now)];
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #receive(
    bytes: Buffer,
    { address: source, port }: RemoteInfo,
    to: string | undefined,
    at: DhcpArrival['port'] = 'server',
  ): void {
    let packet: DhcpPacket;
    try {
      packet = decodeDhcp(bytes);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const asking = { server: 'dhcp', remote: source, mac: '', known: false, again: false } as const;
      this.#options.emit({ kind: 'silent', ...asking, reason: 'malformed', said: error.message });
      return;
    }
    const mac = dhcpMac(packet) ?? '';
    const known = mac !== '' && this.#isKnown(mac);
    const arrival = { port: at, source, ...(to === undefined ? {} : { to }) };
    const plan = decideDhcp(packet, arrival, this.#terms());
    const silent = (reason: DhcpSilence, client?: DhcpClient): void => {
      const asking = this.#asking(packet, source, mac, known, `${at} ${reason}`);
      const said = askedText(
        dhcpText((packet.options.get(DHCP_OPTION.vendorClass) ?? Buffer.of()).subarray(0, MOST_SHOWN)),
      );
      this.#options.emit({
        ...{ kind: 'silent', ...asking, reason, said },
        ...(client === undefined ? {} : { client: client.kind }),
      });
    };
    if ('silent' in plan) {
      silent(plan.silent, plan.client);
      return;
    }
    const over = this.#rate.take(mac, known);
    if (over !== undefined) {
      silent(over, plan.client);
      return;
    }
    for (const { address } of plan.interfaces) {
      const edge = this.#edges.find((each) => each.address === address);
      if (edge === undefined) continue;
      const { httpPort, logServer = false } = this.#options;
      const answer = dhcpAnswer(packet, plan, { address, httpPort, logServer, asked: bytes.length });
      if (answer === undefined) {
        silent('too-large', plan.client);
        continue;
      }
      this.#send(edge, plan, answer, { address: source, port }, at);
      const { uuid, kind } = plan.client;
      this.#options.emit({
        kind: 'offered',
        ...this.#asking(packet, source, mac, known, `${at} ${edge.name}`),
        ...{ message: plan.message, client: kind },
        ...(uuid === undefined ? {} : { uuid }),
        ...{ interface: edge.name, from: address },
        file: offeredFile(plan.loader, address, this.#options.httpPort),
      });
    }
  }

  #send(
    { sender, relayed, bootServer }: Edge,
    { relay }: DhcpPlan,
    answer: Buffer,
    to: { readonly address: string; readonly port: number },
    at: DhcpArrival['port'],
  ): void {
    try {
      if (at === 'boot-server') {
        // Port 0, as raw sockets can write it: nothing can be sent there.
        if (to.port > 0) bootServer.send(answer, to.port, to.address);
      } else if (relay !== undefined) relayed?.send(answer, this.#ports.server, relay);
      else this.#sockets.sendToAll(sender, answer);
    } catch (error) {
      this.#fault(error, 'send an answer');
    }
  }

  #terms(): DhcpTerms {
    const { relays = [], networks = [], loaders, httpPort, tftpAtOnce = false } = this.#options;
    const { decide = () => 'boot' } = this.#options;
    return { interfaces: this.#edges, relays, networks, loaders: loaders(), httpPort, tftpAtOnce, decide };
  }

  #asking({ xid }: DhcpPacket, remote: string, mac: string, known: boolean, about: string): DhcpAsking {
    const key = `${mac} ${xid} ${about}`;
    const again = this.#told.get(key, known) !== undefined;
    if (!again) this.#told.set(key, known, true);
    return { server: 'dhcp', remote, mac, known, again };
  }
}

function notServed(name: string, address: string): string {
  return `The interface ${name} has the address ${address}, and nothing is served there: machines would be sent to a closed door; bind the servers to that address or to 0.0.0.0.`;
}
