import {
  DHCP_MESSAGE,
  type DhcpPacket,
  dhcpAddress,
  encodeDhcp,
  MIN_DHCP_SENT,
} from '../../formats/net/dhcp.ts';
import { DHCP_OPTION, encodeEncapsulated } from '../../formats/net/dhcp-options.ts';
import { IPXE_PRIORITY, PXE_OPTION, TFTP_AT_ONCE } from '../../formats/net/dhcp-values.ts';
import type { DhcpClientKind } from '../../release/server-event.ts';
import type { DhcpPlan } from './dhcp-decide.ts';
import type { DhcpLoader } from './dhcp-types.ts';

/** RFC 2131 §2: what every client takes. */
const MOST_ANSWERED = 576;

/** What the boot ROM of a Raspberry Pi looks for before it takes an offer for its own. */
const RASPBERRY_PI_MENU = encodeEncapsulated(
  new Map([
    // Type 0, its name.
    [PXE_OPTION.bootMenu, named(Buffer.of(0, 0), 'Raspberry Pi Boot')],
    // No wait, a prompt.
    [PXE_OPTION.menuPrompt, Buffer.concat([Buffer.of(0), Buffer.from('PXE')])],
  ]),
  true,
);

/** `undionly.kpxe`, or `http://10.0.0.1:8080/autoexec.ipxe`: never made of anything that a client sent. */
export function offeredFile({ via, path }: DhcpLoader, address: string, httpPort: number): string {
  if (via === 'tftp') return path;
  return `http://${address}${httpPort === 80 ? '' : `:${httpPort}`}/${path}`;
}

/**
 * The bytes of an answer that names `address` as the server; undefined where they would be more than the question
 * has, or than every client takes: whoever forges a question must not make us send more than they did.
 *
 * @param asked bytes of the question.
 */
export function dhcpAnswer(
  packet: DhcpPacket,
  plan: DhcpPlan,
  {
    address,
    httpPort,
    logServer = false,
    asked,
  }: {
    readonly address: string;
    readonly httpPort: number;
    /** iPXE sends what it writes on its console to `address`, too. */
    readonly logServer?: boolean;
    readonly asked: number;
  },
): Buffer | undefined {
  const { message, client, loader, relay } = plan;
  const file = offeredFile(loader, address, httpPort);
  const own = dhcpAddress(address);
  const uuid = packet.options.get(DHCP_OPTION.clientMachine);
  const options = new Map<number, Uint8Array>([
    [DHCP_OPTION.messageType, Buffer.of(message === 'ack' ? DHCP_MESSAGE.ack : DHCP_MESSAGE.offer)],
    [DHCP_OPTION.serverIdentifier, own],
    [DHCP_OPTION.vendorClass, Buffer.from(client.vendorClass)],
    ...(uuid === undefined ? [] : [[DHCP_OPTION.clientMachine, uuid] as const]),
    ...kindOptions(plan, httpPort),
    ...(logServer && IPXE.has(client.kind) ? [[DHCP_OPTION.logServers, own] as const] : []),
    // Firmware by HTTP takes either place, shim 15.8 only the field: it would forget the folder.
    ...(client.vendorClass === 'HTTPClient' ? [[DHCP_OPTION.bootfileName, Buffer.from(file)] as const] : []),
  ]);
  if (file.length > 127) return undefined;
  const bytes = encodeDhcp({
    ...{ op: 2, htype: 1, hlen: 6, hops: 0, xid: packet.xid, secs: 0 },
    // A relay of dnsmasq drops what it should hand on by unicast.
    broadcast: packet.broadcast || relay !== undefined,
    ciaddr: message === 'ack' ? packet.ciaddr : '0.0.0.0',
    yiaddr: '0.0.0.0',
    siaddr: address,
    giaddr: packet.giaddr,
    chaddr: packet.chaddr,
    sname: address,
    file,
    options,
  });
  return bytes.length > Math.min(MOST_ANSWERED, Math.max(asked, MIN_DHCP_SENT)) ? undefined : bytes;
}

function kindOptions(plan: DhcpPlan, httpPort: number): (readonly [number, Uint8Array])[] {
  const { client, item, message, tftpAtOnce } = plan;
  const options: (readonly [number, Uint8Array])[] = [];
  const vendor = (value: Uint8Array): void => {
    options.push([DHCP_OPTION.vendorSpecific, value]);
  };
  if (item !== undefined) vendor(encodeEncapsulated(new Map([[PXE_OPTION.bootItem, item]]), true));
  else if (client.kind === 'raspberry-pi') vendor(RASPBERRY_PI_MENU);
  else if (message === 'offer' && (client.kind === 'bios' || (tftpAtOnce && UEFI.has(client.kind))))
    vendor(TFTP_AT_ONCE);
  if (IPXE.has(client.kind)) {
    const port = Buffer.alloc(4);
    port.writeUInt32BE(httpPort);
    options.push([DHCP_OPTION.ipxe, IPXE_PRIORITY], [DHCP_OPTION.sitePort, port]);
  }
  return options;
}

const UEFI: ReadonlySet<DhcpClientKind> = new Set(['ia32', 'x64', 'arm32', 'arm64']);
const IPXE: ReadonlySet<DhcpClientKind> = new Set([
  ...(['bootseal', 'bootseal-arm64', 'ipxe', 'ipxe-bios', 'ipxe-x64', 'ipxe-arm64'] as const),
]);

function named(type: Buffer, name: string): Buffer {
  return Buffer.concat([type, Buffer.of(name.length), Buffer.from(name)]);
}
