import { Malformed } from '../../errors/malformed.ts';
import { DHCP_MESSAGE, type DhcpPacket, decodeDhcp, encodeDhcp } from '../../formats/net/dhcp.ts';
import { DHCP_OPTION, decodeEncapsulated } from '../../formats/net/dhcp-options.ts';
import { dhcpText, encodeArchitectures, messageType } from '../../formats/net/dhcp-values.ts';
import { ipv4Text, prefixBits } from '../../formats/net/ip-address.ts';

/** What one DHCP server offered. Whoever is on the LAN can say it. */
export interface LanOffer {
  /** Option 54, else where it came from. */
  readonly server: string;
  /** `10.0.0.0/24`, of which it gives an address; undefined: it gives none, as a ProxyDHCP server does. */
  readonly network: string | undefined;
  /** What it tells to load; empty: nothing. */
  readonly file: string;
  /** Where from: siaddr, else the server. */
  readonly nextServer: string;
  /** It tells iPXE to hear no ProxyDHCP server (option 175.176). */
  readonly noProxy: boolean;
}

/** iPXE's option 175.176: take no other offer than this. */
const IPXE_NO_PROXY = 176;
const NOBODY = '0.0.0.0';
/** What firmware asks for, and what this reads. */
const WANTED = [1, 3, 6, 43, 54, 60, 66, 67, 97, 175];
/** UEFI on x64 (RFC 4578 §2.1, as corrected): what most machines are now. */
const ARCHITECTURE = 7;

/**
 * The question of a machine that boots from the network.
 *
 * @param mac the card's own: switches that watch DHCP let no other pass.
 * @param xid 32 bits.
 */
export function encodeDiscover(mac: string, xid: number): Buffer {
  const chaddr = Buffer.alloc(16);
  chaddr.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
  const options = new Map<number, Uint8Array>([
    [DHCP_OPTION.messageType, Buffer.of(DHCP_MESSAGE.discover)],
    [DHCP_OPTION.parameterRequest, Buffer.from(WANTED)],
    [DHCP_OPTION.vendorClass, Buffer.from('PXEClient:Arch:00007:UNDI:003000')],
    [DHCP_OPTION.clientArchitecture, encodeArchitectures([ARCHITECTURE])],
    [DHCP_OPTION.networkInterface, Buffer.of(1, 3, 0)],
  ]);
  // Broadcast: who has no address yet hears nothing else.
  return encodeDhcp({
    ...{ op: 1, htype: 1, hlen: 6, hops: 0, xid, secs: 0, broadcast: true, chaddr, sname: '', file: '' },
    ...{ ciaddr: NOBODY, yiaddr: NOBODY, siaddr: NOBODY, giaddr: NOBODY, options },
  });
}

/**
 * What a datagram offers; undefined for one that is no answer to this question.
 *
 * @param from source of the datagram.
 * @throws Malformed
 */
export function decodeOffer(bytes: Uint8Array, xid: number, from: string): LanOffer | undefined {
  const packet = decodeDhcp(bytes);
  const { op, xid: answered, siaddr, file, options } = packet;
  if (op !== 2 || answered !== xid || messageType(options) !== DHCP_MESSAGE.offer) return undefined;
  const server = quad(options.get(DHCP_OPTION.serverIdentifier)) ?? from;
  return {
    server,
    network: networkOf(packet),
    file: file || dhcpText(options.get(DHCP_OPTION.bootfileName) ?? Buffer.of()),
    nextServer: siaddr === NOBODY ? server : siaddr,
    noProxy: tellsNoProxy(options.get(DHCP_OPTION.ipxe)),
  };
}

function networkOf({ yiaddr, options }: DhcpPacket): string | undefined {
  if (yiaddr === NOBODY) return undefined;
  const mask = options.get(DHCP_OPTION.subnetMask);
  const length = mask ? Buffer.from(mask).readUInt32BE().toString(2).replace(/0+$/, '').length : 32;
  const bits = BigInt(yiaddr.split('.').reduce((all, part) => all * 256 + Number(part), 0));
  return `${ipv4Text(prefixBits(bits, 32, length))}/${length}`;
}

function tellsNoProxy(value: Uint8Array | undefined): boolean {
  if (value === undefined) return false;
  try {
    return (
      decodeEncapsulated(value)
        .get(IPXE_NO_PROXY)
        ?.some((byte) => byte !== 0) ?? false
    );
  } catch (error) {
    // iPXE reads it in its own way; what is unclear is told by nobody here.
    if (error instanceof Malformed) return false;
    throw error;
  }
}

function quad(value: Uint8Array | undefined): string | undefined {
  return value?.length === 4 ? [...value].join('.') : undefined;
}
