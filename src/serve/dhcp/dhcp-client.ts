import type { DhcpPacket } from '../../formats/net/dhcp.ts';
import { DHCP_OPTION } from '../../formats/net/dhcp-options.ts';
import { clientArchitectures, dhcpText, machineUuid, userClasses } from '../../formats/net/dhcp-values.ts';
import type { DhcpClientKind, DhcpSilence } from '../../release/server-event.ts';
import type { DhcpClient } from './dhcp-types.ts';

/** Classes are words; whatever is longer is none that a boot ROM sends. Bytes. */
const LONGEST_CLASS = 64;

/** What a fresh boot ROM puts behind its class; iPXE that asks again, or under undionly.kpxe, leaves it out. */
const WITH_ARCHITECTURE = /^PXEClient:Arch:/;

/** Which of IANA's architectures each kind is, by class. x64 is 7, by an erratum of RFC 4578, and 9 in the field. */
const PXE_KINDS: ReadonlyMap<number, DhcpClientKind> = new Map([
  [0, 'bios'],
  [6, 'ia32'],
  [7, 'x64'],
  [9, 'x64'],
  [10, 'arm32'],
  [11, 'arm64'],
  [41, 'raspberry-pi'],
]);
const HTTP_KINDS: ReadonlyMap<number, DhcpClientKind> = new Map([
  [15, 'http-ia32'],
  [16, 'http-x64'],
  [18, 'http-arm32'],
  [19, 'http-arm64'],
]);
const IPXE_KINDS: ReadonlyMap<number, DhcpClientKind> = new Map([
  [7, 'ipxe-x64'],
  [9, 'ipxe-x64'],
  [11, 'ipxe-arm64'],
]);

/** First three bytes of the addresses of Raspberry Pis (IEEE's registry). */
const RASPBERRY_PI = new Set([
  '28:cd:c1',
  '2c:cf:67',
  '3a:35:41',
  'b8:27:eb',
  'd8:3a:dd',
  'dc:a6:32',
  'e4:5f:01',
]);

/** `52:54:00:12:34:56`; a silence where it is no card's. */
export function dhcpMac({ htype, hlen, chaddr }: DhcpPacket): string | undefined {
  if (htype !== 1 || hlen !== 6) return undefined;
  const bytes = chaddr.subarray(0, 6);
  // A group's address, or nobody's.
  if (((bytes[0] ?? 1) & 1) !== 0 || bytes.every((byte) => byte === 0)) return undefined;
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?!$)/g, '$&:');
}

/** Who asks: what it says that it is, or why it is none of ours. */
export function dhcpClient(packet: DhcpPacket, mac: string): DhcpClient | DhcpSilence {
  const { options } = packet;
  const said = options.get(DHCP_OPTION.vendorClass) ?? Buffer.of();
  const named = options.get(DHCP_OPTION.userClass) ?? Buffer.of();
  const vendor = dhcpText(said);
  const vendorClass = (['PXEClient', 'HTTPClient'] as const).find((name) => vendor.startsWith(name));
  const architectures = clientArchitectures(options);
  if (vendorClass === undefined || architectures.length === 0) return 'not-pxe';
  if (said.length > LONGEST_CLASS || named.length > LONGEST_CLASS) return 'malformed';
  const kind = kindOf(packet, mac, vendor, vendorClass, architectures);
  if (kind === undefined) return 'unknown-kind';
  const id = machineUuid(options);
  return {
    ...{ kind, mac, architectures, vendorClass },
    ...(id === undefined ? {} : { uuid: id.uuid, uuidAsSent: id.asSent }),
  };
}

function kindOf(
  { options }: DhcpPacket,
  mac: string,
  vendor: string,
  vendorClass: DhcpClient['vendorClass'],
  architectures: readonly number[],
): DhcpClientKind | undefined {
  const classes = userClasses(options);
  if (classes.includes('bootseal')) return architectures.includes(11) ? 'bootseal-arm64' : 'bootseal';
  if (classes.includes('iPXE') || options.has(DHCP_OPTION.ipxe)) {
    if (architectures[0] === 0) return WITH_ARCHITECTURE.test(vendor) ? 'ipxe-bios' : 'ipxe';
    return first(architectures, IPXE_KINDS) ?? 'ipxe';
  }
  const kind = first(architectures, vendorClass === 'HTTPClient' ? HTTP_KINDS : PXE_KINDS);
  // Its ROM says that it is a BIOS; a Pi with UEFI firmware says what it is.
  return kind === 'bios' && RASPBERRY_PI.has(mac.slice(0, 8)) ? 'raspberry-pi' : kind;
}

function first(
  architectures: readonly number[],
  kinds: ReadonlyMap<number, DhcpClientKind>,
): DhcpClientKind | undefined {
  for (const type of architectures) {
    const kind = kinds.get(type);
    if (kind !== undefined) return kind;
  }
  return undefined;
}
