import { Malformed } from '../../errors/malformed.ts';
import {
  checkOptionLengths,
  DHCP_OPTION,
  type DhcpOptions,
  readOptionField,
  writeOptionField,
} from './dhcp-options.ts';
import { decodeIpAddress, ipv4Text } from './ip-address.ts';

/** A DHCP message (RFC 2131 §2). Addresses are dotted quads, `0.0.0.0` where there is none. */
export interface DhcpPacket {
  /** 1 from a client, 2 from a server. */
  readonly op: number;
  /** 1: Ethernet. */
  readonly htype: number;
  /** Bytes of `chaddr` that count, at most 16. */
  readonly hlen: number;
  readonly hops: number;
  /** 32 bits. */
  readonly xid: number;
  /** Seconds; iPXE says other things with it. */
  readonly secs: number;
  /** The client cannot take a unicast yet. */
  readonly broadcast: boolean;
  readonly ciaddr: string;
  readonly yiaddr: string;
  readonly siaddr: string;
  readonly giaddr: string;
  /** 16 bytes. */
  readonly chaddr: Uint8Array;
  /** Latin-1 up to its NUL; empty where the field holds options. */
  readonly sname: string;
  readonly file: string;
  /** Without 52: what it says of `sname` and `file` was done. */
  readonly options: DhcpOptions;
}

/** RFC 2132 §9.6. */
export const DHCP_MESSAGE = { discover: 1, offer: 2, request: 3, ack: 5 } as const;

/** Fields of a fixed length, with the cookie. */
export const DHCP_HEADER = 240;
/** What fits into one Ethernet frame. */
export const MAX_DHCP = 1472;
/** RFC 1542 §2.1: clients and relays may take nothing shorter. */
export const MIN_DHCP_SENT = 300;

const SNAME = { at: 44, size: 64 } as const;
const FILE = { at: 108, size: 128 } as const;
const COOKIE = { at: 236, value: 0x63_82_53_63 } as const;
const BROADCAST = 0x8000;
/** RFC 2132 §9.3: which of the two fields hold options. */
const OVERLOAD = { file: 1, sname: 2 } as const;

/**
 * Reads a message of at least 240 and at most 1472 bytes. Options that nobody knows are kept; of those that are known
 * the lengths are checked.
 *
 * Where option 52 says so, `file` and then `sname` are read as options as well (RFC 3396 §5); a 52 among those is
 * refused, so that nothing is read twice.
 *
 * @throws Malformed
 */
export function decodeDhcp(bytes: Uint8Array): DhcpPacket {
  if (bytes.length < DHCP_HEADER) throw malformed('fewer than 240 bytes');
  if (bytes.length > MAX_DHCP) throw malformed('more than 1472 bytes');
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.readUInt32BE(COOKIE.at) !== COOKIE.value) throw malformed('no magic cookie', COOKIE.at);
  const hlen = view.readUInt8(2);
  if (hlen > 16) throw malformed('a hardware address of more than 16 bytes', 2);
  const options = new Map<number, Uint8Array>();
  readOptionField(view.subarray(DHCP_HEADER), DHCP_HEADER, options);
  const overload = overloaded(options);
  for (const [flag, { at, size }] of [
    [OVERLOAD.file, FILE],
    [OVERLOAD.sname, SNAME],
  ] as const) {
    if ((overload & flag) === 0) continue;
    const inside = new Map<number, Uint8Array>();
    readOptionField(view.subarray(at, at + size), at, inside);
    if (inside.has(DHCP_OPTION.overload)) throw malformed('an overload inside an overloaded field', at);
    readOptionField(view.subarray(at, at + size), at, options);
  }
  checkOptionLengths(options);
  return {
    op: view.readUInt8(0),
    htype: view.readUInt8(1),
    hlen,
    hops: view.readUInt8(3),
    xid: view.readUInt32BE(4),
    secs: view.readUInt16BE(8),
    broadcast: (view.readUInt16BE(10) & BROADCAST) !== 0,
    ciaddr: ipv4(view, 12),
    yiaddr: ipv4(view, 16),
    siaddr: ipv4(view, 20),
    giaddr: ipv4(view, 24),
    chaddr: view.subarray(28, 44),
    sname: (overload & OVERLOAD.sname) === 0 ? text(view, SNAME) : '',
    file: (overload & OVERLOAD.file) === 0 ? text(view, FILE) : '',
    options,
  };
}

/**
 * Writes a message, of at least 300 bytes. Options go into their own field, in their order.
 *
 * @throws RangeError where a value does not fit, or the whole is longer than 1472 bytes.
 */
export function encodeDhcp(packet: DhcpPacket): Buffer {
  const { options, sname, file, chaddr } = packet;
  if (options.has(DHCP_OPTION.overload)) throw new RangeError('a DHCP message is written without overload');
  if (chaddr.length !== 16) throw new RangeError('a DHCP hardware address field is 16 bytes');
  const header = Buffer.alloc(DHCP_HEADER);
  header.writeUInt8(packet.op, 0);
  header.writeUInt8(packet.htype, 1);
  header.writeUInt8(packet.hlen, 2);
  header.writeUInt8(packet.hops, 3);
  header.writeUInt32BE(packet.xid, 4);
  header.writeUInt16BE(packet.secs, 8);
  header.writeUInt16BE(packet.broadcast ? BROADCAST : 0, 10);
  for (const [address, at] of [
    [packet.ciaddr, 12],
    [packet.yiaddr, 16],
    [packet.siaddr, 20],
    [packet.giaddr, 24],
  ] as const) {
    dhcpAddress(address).copy(header, at);
  }
  header.set(chaddr, 28);
  for (const [value, { at, size }] of [
    [sname, SNAME],
    [file, FILE],
  ] as const) {
    if (value.length >= size || !/^[\x20-\x7e]*$/.test(value))
      throw new RangeError(`a DHCP field of ${size} bytes holds shorter printable ASCII`);
    header.write(value, at, 'latin1');
  }
  header.writeUInt32BE(COOKIE.value, COOKIE.at);
  const bytes = Buffer.concat([header, writeOptionField(options)]);
  if (bytes.length > MAX_DHCP) throw new RangeError('a DHCP message is at most 1472 bytes');
  return bytes.length < MIN_DHCP_SENT ? Buffer.concat([bytes], MIN_DHCP_SENT) : bytes;
}

/** The four bytes of a dotted quad, as options hold it. @throws Malformed */
export function dhcpAddress(address: string): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(Number(decodeIpAddress(address).bits));
  return bytes;
}

/** What 52 says, which is taken out; 0 where it is absent. */
function overloaded(options: Map<number, Uint8Array>): number {
  const value = options.get(DHCP_OPTION.overload);
  if (value === undefined) return 0;
  options.delete(DHCP_OPTION.overload);
  const [fields = 0] = value;
  if (value.length !== 1 || fields < 1 || fields > 3) throw malformed('an overload that is not from 1 to 3');
  return fields;
}

function ipv4(bytes: Buffer, at: number): string {
  return ipv4Text(BigInt(bytes.readUInt32BE(at)));
}

/** Some clients fill a field to its last byte and leave the NUL out. */
function text(bytes: Buffer, { at, size }: { readonly at: number; readonly size: number }): string {
  const field = bytes.subarray(at, at + size);
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end === -1 ? size : end);
}

function malformed(fact: string, offset?: number): Malformed {
  return new Malformed('DHCP', fact, offset);
}
