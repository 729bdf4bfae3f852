import type { IpPrefix } from '../../formats/net/ip-address.ts';
import type { DhcpClientKind, DhcpSilence } from '../../release/server-event.ts';

/** A machine as its DHCP message describes it. Claims: they select, and never unlock anything. */
export interface DhcpClient {
  readonly kind: DhcpClientKind;
  /** `52:54:00:12:34:56` */
  readonly mac: string;
  /** As SMBIOS 2.6 prints it. */
  readonly uuid?: string;
  /** The UUID in the order of its bytes, as some firmware older than SMBIOS 2.6 means it. */
  readonly uuidAsSent?: string;
  /** As IANA numbers them. */
  readonly architectures: readonly number[];
  /** The word that its answer has to repeat. */
  readonly vendorClass: 'PXEClient' | 'HTTPClient';
}

/**
 * What a machine gets, beyond what its kind gets. `tftpAtOnce` spares UEFI firmware its question at port 4011
 * (discovery control, `06 01 08 ff` in option 43): for the few whose 4011 is broken, since others break on that.
 */
export type DhcpDecision =
  | 'boot'
  | { readonly boot: true; readonly tftpAtOnce: boolean }
  | { readonly silent: 'local' | 'blocked' | 'not-enrolled' };

/** A file for one kind of client, by its path at the site without the leading slash. */
export interface DhcpLoader {
  /** `tftp`: by name, from the address of the offer; `http`: as a whole URL. */
  readonly via: 'tftp' | 'http';
  readonly path: string;
}

/** What each kind of client is told to load; or why it is told nothing. */
export type DhcpLoaders = ReadonlyMap<DhcpClientKind, DhcpLoader | DhcpSilence>;

/** An interface with the address that its offers name. */
export interface DhcpInterface {
  readonly name: string;
  /** IPv4. */
  readonly address: string;
  readonly network: IpPrefix;
}

/** Where a message came in. */
export interface DhcpArrival {
  readonly port: 'server' | 'boot-server';
  /** Source of the datagram. */
  readonly source: string;
  /** Our own address that it was sent to; undefined: to all (255.255.255.255). */
  readonly to?: string;
}

export interface DhcpTerms {
  /** Interfaces on which somebody is answered now. */
  readonly interfaces: readonly DhcpInterface[];
  /** Relays that are believed: their addresses. */
  readonly relays: readonly IpPrefix[];
  /** Networks behind relays, whose machines may ask at port 4011. */
  readonly networks: readonly IpPrefix[];
  readonly loaders: DhcpLoaders;
  /** Of URLs, and what scripts are told. */
  readonly httpPort: number;
  /** UEFI firmware is spared its question at port 4011, unless a machine's decision says otherwise. */
  readonly tftpAtOnce: boolean;
  /** Answers from memory, at once. */
  readonly decide: (client: DhcpClient) => DhcpDecision;
}
