import { networkInterfaces } from 'node:os';
import { decodeIpPrefix } from '../formats/net/ip-address.ts';
import type { DhcpClientKind, DhcpSilence } from '../release/server-event.ts';
import type { Site } from '../release/site.ts';
import { type ProxyDhcp, type ProxyDhcpOptions, startProxyDhcp } from '../serve/dhcp/dhcp.ts';
import { offeredFile } from '../serve/dhcp/dhcp-answer.ts';
import { demandInterfaces } from '../serve/dhcp/dhcp-interfaces.ts';
import type { DhcpInterface, DhcpLoader, DhcpLoaders } from '../serve/dhcp/dhcp-types.ts';
import type { Emit } from '../serve/emit.ts';
import { type Bound, isBoundAt } from '../serve/listen.ts';
import type { Configuration } from './configuration.ts';
import { checkNamedLoaders, findDhcpLoaders } from './dhcp-loaders.ts';

/** Machines that boot from the network are answered over DHCP, beside the DHCP server of the LAN. */
export interface ProxyDhcpRequest extends Pick<ProxyDhcpOptions, 'decide' | 'isKnown'> {
  /** Names of interfaces, each with an IPv4 address: `eth0`. */
  readonly interfaces: readonly string[];
}

/** What one kind of client is told on one interface. */
export interface DhcpOffer {
  readonly interface: string;
  /** The address that the offer names. */
  readonly address: string;
  readonly client: DhcpClientKind;
  /** A URL; undefined where it is told nothing. */
  readonly loads?: string;
  /** Why it is told nothing. */
  readonly silent?: DhcpSilence;
}

/** What is listened on where nothing was said: the addresses of these interfaces, and no other. @throws UsageError */
export function proxyDhcpBind({ interfaces }: ProxyDhcpRequest): readonly string[] {
  return demandInterfaces(interfaces, networkInterfaces()).map(({ address }) => address);
}

/** What machines are sent to. */
export interface DhcpTargets {
  readonly http: { readonly port: number; readonly bound: readonly Bound[] };
  /** Undefined where it is not served. */
  readonly tftp: { readonly port: number; readonly bound: readonly Bound[] } | undefined;
  readonly syslog: { readonly port: number } | undefined;
}

/** ProxyDHCP over what a server offers. */
export class DhcpEdge {
  readonly #request: ProxyDhcpRequest;
  readonly #configuration: Configuration['proxydhcp'];
  readonly #find: Site['find'];
  #loaders: DhcpLoaders = new Map();
  #lookups = 0;
  #tftp = false;
  #httpPort = 0;
  #server: ProxyDhcp | undefined;

  constructor(
    request: ProxyDhcpRequest,
    { configuration, find }: { readonly configuration: Configuration; readonly find: Site['find'] },
  ) {
    this.#request = request;
    this.#configuration = configuration.proxydhcp;
    this.#find = find;
  }

  /**
   * @param sockets descriptors that were handed over for it.
   * @throws UsageError, ListenError
   */
  async start(
    emit: Emit,
    { http, tftp, syslog }: DhcpTargets,
    sockets: readonly number[],
  ): Promise<ProxyDhcp> {
    const { relays, networks, site_port, tftp_at_once } = this.#configuration;
    this.#httpPort = site_port ?? http.port;
    this.#tftp = tftp?.port === TFTP_PORT;
    await checkNamedLoaders(this.#lookup());
    await this.refresh();
    this.#server = await startProxyDhcp({
      ...this.#request,
      relays: relays.map(decodeIpPrefix),
      networks: networks.map(decodeIpPrefix),
      loaders: () => this.#loaders,
      httpPort: this.#httpPort,
      tftpAtOnce: tftp_at_once,
      logServer: syslog?.port === SYSLOG_PORT,
      serves: (address) =>
        isBoundAt(http.bound, address) && (tftp === undefined || isBoundAt(tftp.bound, address)),
      emit,
      sockets,
    });
    return this.#server;
  }

  /** What is served has changed. */
  async refresh(): Promise<void> {
    this.#lookups += 1;
    const lookup = this.#lookups;
    const loaders = await findDhcpLoaders(this.#lookup());
    if (lookup === this.#lookups) this.#loaders = loaders;
  }

  /** What is answered to whom, now, interface by interface. */
  get offers(): readonly DhcpOffer[] {
    return (this.#server?.interfaces ?? []).flatMap((each) =>
      [...this.#loaders].map(([client, loader]) => this.#offer(each, client, loader)),
    );
  }

  #offer(
    { name, address }: DhcpInterface,
    client: DhcpClientKind,
    loader: DhcpLoader | DhcpSilence,
  ): DhcpOffer {
    const offer = { interface: name, address, client };
    if (typeof loader === 'string') return { ...offer, silent: loader };
    const file = offeredFile(loader, address, this.#httpPort);
    return { ...offer, loads: loader.via === 'http' ? file : `tftp://${address}/${file}` };
  }

  #lookup() {
    return { find: this.#find, named: this.#configuration.loaders, tftp: this.#tftp };
  }
}

const TFTP_PORT = 69;
/** Where loaders send their lines; DHCP cannot name another one. */
const SYSLOG_PORT = 514;
