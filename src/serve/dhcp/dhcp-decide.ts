import { Malformed } from '../../errors/malformed.ts';
import { DHCP_MESSAGE, type DhcpPacket, dhcpAddress } from '../../formats/net/dhcp.ts';
import { DHCP_OPTION } from '../../formats/net/dhcp-options.ts';
import { bootItem, messageType } from '../../formats/net/dhcp-values.ts';
import { decodeIpAddress, type IpPrefix, isWithin } from '../../formats/net/ip-address.ts';
import type { DhcpSilence } from '../../release/server-event.ts';
import { dhcpClient, dhcpMac } from './dhcp-client.ts';
import type { DhcpArrival, DhcpClient, DhcpInterface, DhcpLoader, DhcpTerms } from './dhcp-types.ts';

/** An answer, but for the address of the interface that it leaves by. */
export interface DhcpPlan {
  readonly message: 'offer' | 'ack';
  readonly client: DhcpClient;
  readonly loader: DhcpLoader;
  readonly tftpAtOnce: boolean;
  /** Chosen from a menu: repeated in the answer. */
  readonly item?: Uint8Array;
  /** The relay that it goes through. */
  readonly relay?: string;
  /** Each gets an answer of its own. */
  readonly interfaces: readonly DhcpInterface[];
}

export interface DhcpSilent {
  readonly silent: DhcpSilence;
  readonly client?: DhcpClient;
}

/** RFC 1542 §4.1.1. */
const MOST_HOPS = 16;
const NOBODY = '0.0.0.0';

/**
 * What is answered to a message, or why nothing is. Knows no socket, no clock and no disk.
 *
 * Whatever is not understood, or meant for another server, is met with silence: beside a DHCP server, an answer too
 * many can keep a machine from its address.
 */
export function decideDhcp(
  packet: DhcpPacket,
  arrival: DhcpArrival,
  terms: DhcpTerms,
): DhcpPlan | DhcpSilent {
  // 1. A client's question, of the type that this port takes. Replies that come to us end here, so that two
  //    servers never answer each other.
  const atBootServer = arrival.port === 'boot-server';
  const wanted = atBootServer ? DHCP_MESSAGE.request : DHCP_MESSAGE.discover;
  if (packet.op !== 1 || messageType(packet.options) !== wanted) return { silent: 'not-a-request' };
  // 2. From a card.
  const mac = dhcpMac(packet);
  if (mac === undefined) return { silent: 'not-ethernet' };
  // 3. That boots from the network. GRUB's own bare DISCOVER, if answered, would ask us for a lease and fail.
  const client = dhcpClient(packet, mac);
  if (typeof client === 'string') return { silent: client };
  const silent = (reason: DhcpSilence): DhcpSilent => ({ silent: reason, client });
  if (atBootServer && client.vendorClass !== 'PXEClient') return silent('not-pxe');
  // 4. From where its answer can go.
  const way = atBootServer ? wayOf4011(packet, arrival, terms) : wayOf67(packet, arrival, terms);
  if (typeof way === 'string') return silent(way);
  // 5. A machine that shall boot.
  const decision = terms.decide(client);
  if (typeof decision === 'object' && 'silent' in decision) return silent(decision.silent);
  // 6. Something for it to load.
  const loader = terms.loaders.get(client.kind) ?? 'no-loader';
  if (typeof loader === 'string') return silent(loader);
  let item: Uint8Array | undefined;
  try {
    item = atBootServer ? bootItem(packet.options) : undefined;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return silent('malformed');
  }
  return {
    message: atBootServer ? 'ack' : 'offer',
    client,
    loader,
    tftpAtOnce: typeof decision === 'object' ? decision.tftpAtOnce : terms.tftpAtOnce,
    ...(item === undefined ? {} : { item }),
    ...way,
  };
}

type Way = Pick<DhcpPlan, 'relay' | 'interfaces'>;

function wayOf67(packet: DhcpPacket, { source, to }: DhcpArrival, terms: DhcpTerms): Way | DhcpSilence {
  const { interfaces, relays } = terms;
  if (packet.giaddr === NOBODY) {
    if (packet.hops !== 0) return 'from-elsewhere';
    // Broadcasts do not say by which interface they came: the client hears the answer that leaves by its own.
    if (source === NOBODY) return interfaces.length > 0 ? { interfaces } : 'from-elsewhere';
    const near = interfaces.filter(({ network }) => isIn(source, [network]));
    return near.length > 0 ? { interfaces: near } : 'from-elsewhere';
  }
  // A relay's word decides where an answer goes: only one that was named may send it somewhere.
  const ours = interfaces.some(({ address }) => address === packet.giaddr);
  if (ours || packet.hops > MOST_HOPS || !isIn(packet.giaddr, relays) || !isIn(source, relays)) {
    return 'unknown-relay';
  }
  const asked = interfaces.filter(({ address }) => address === to);
  return asked.length > 0 ? { interfaces: asked, relay: packet.giaddr } : 'unknown-relay';
}

function wayOf4011(packet: DhcpPacket, { source, to }: DhcpArrival, terms: DhcpTerms): Way | DhcpSilence {
  const { interfaces, networks } = terms;
  const asked = interfaces.filter(({ address }) => address === to);
  const near = interfaces.map(({ network }) => network);
  // The answer goes to the source, which therefore has to be the address that the client says it has.
  if (asked.length === 0 || packet.giaddr !== NOBODY || packet.hops !== 0) return 'from-elsewhere';
  if (packet.ciaddr !== source || !isIn(source, [...near, ...networks])) return 'from-elsewhere';
  const server = packet.options.get(DHCP_OPTION.serverIdentifier);
  if (server !== undefined && !asked.some(({ address }) => dhcpAddress(address).equals(server)))
    return 'for-another';
  return { interfaces: asked };
}

function isIn(address: string, prefixes: readonly IpPrefix[]): boolean {
  const decoded = decodeIpAddress(address);
  return prefixes.some((prefix) => isWithin(decoded, prefix));
}
