/** Frames of Ethernet that carry ARP (RFC 826) or UDP over IPv4 (RFC 768, RFC 791), as somebody on a LAN makes them. */

const ARP = 0x0806;
const IPV4 = 0x0800;
const UDP = 17;
const ETHERNET = 14;
const IP_HEADER = 20;
const UDP_HEADER = 8;

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

export interface UdpFrame {
  /** `52:54:00:00:00:01` */
  readonly from: string;
  readonly to: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Buffer;
}

/** Undefined for whatever else a frame carries, and for pieces of a longer datagram. */
export function decodeUdpFrame(frame: Buffer): UdpFrame | undefined {
  if (frame.length < ETHERNET + IP_HEADER + UDP_HEADER || frame.readUInt16BE(12) !== IPV4) return undefined;
  const ip = frame.subarray(ETHERNET);
  const header = ((ip[0] ?? 0) & 0x0f) * 4;
  if (ip[9] !== UDP || (ip.readUInt16BE(6) & 0x3fff) !== 0 || ip.length < header + UDP_HEADER)
    return undefined;
  const udp = ip.subarray(header);
  return {
    from: macText(frame, 6),
    to: macText(frame, 0),
    source: ipText(ip, 12),
    destination: ipText(ip, 16),
    sourcePort: udp.readUInt16BE(0),
    destinationPort: udp.readUInt16BE(2),
    payload: udp.subarray(UDP_HEADER, udp.readUInt16BE(4)),
  };
}

/** Without a checksum of UDP, which is optional over IPv4. */
export function encodeUdpFrame(udp: UdpFrame): Buffer {
  const ip = Buffer.alloc(IP_HEADER);
  const length = UDP_HEADER + udp.payload.length;
  ip[0] = 0x45;
  ip.writeUInt16BE(IP_HEADER + length, 2);
  ip[8] = 64;
  ip[9] = UDP;
  ipBytes(udp.source).copy(ip, 12);
  ipBytes(udp.destination).copy(ip, 16);
  ip.writeUInt16BE(checksum(ip), 10);
  const header = Buffer.alloc(UDP_HEADER);
  header.writeUInt16BE(udp.sourcePort, 0);
  header.writeUInt16BE(udp.destinationPort, 2);
  header.writeUInt16BE(length, 4);
  return Buffer.concat([addressed(udp.to, udp.from, IPV4), ip, header, udp.payload]);
}

/** An answer that nobody asked for: that `address` is at `mac`. */
export function gratuitousArp(mac: string, address: string): Buffer {
  const arp = Buffer.from('0001080006040002', 'hex');
  const owner = Buffer.concat([macBytes(mac), ipBytes(address)]);
  return Buffer.concat([addressed(BROADCAST, mac, ARP), arp, owner, macBytes(BROADCAST), ipBytes(address)]);
}

function addressed(to: string, from: string, type: number): Buffer {
  return Buffer.concat([macBytes(to), macBytes(from), Buffer.of(type >> 8, type & 0xff)]);
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

function macText(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + 6).replace(/..(?=.)/g, '$&:');
}

function ipBytes(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

function ipText(bytes: Buffer, at: number): string {
  return [...bytes.subarray(at, at + 4)].join('.');
}
