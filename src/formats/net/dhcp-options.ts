import { Malformed } from '../../errors/malformed.ts';

/** Options by their code: values as sent, pieces of one option joined (RFC 3396). */
export type DhcpOptions = ReadonlyMap<number, Uint8Array>;

/** Codes that are read or written here; RFC 2132 unless another document is named. */
export const DHCP_OPTION = {
  subnetMask: 1,
  router: 3,
  dnsServers: 6,
  logServers: 7,
  hostName: 12,
  broadcastAddress: 28,
  vendorSpecific: 43,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequest: 55,
  maximumSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientIdentifier: 61,
  tftpServerName: 66,
  bootfileName: 67,
  /** RFC 3004. */
  userClass: 77,
  /** RFC 3046. */
  relayAgent: 82,
  /** RFC 4578 §2.1: the architectures of the client, 16 bits each. */
  clientArchitecture: 93,
  /** RFC 4578 §2.2. */
  networkInterface: 94,
  /** RFC 4578 §2.3: the client's UUID. */
  clientMachine: 97,
  /** iPXE's own options, encapsulated. */
  ipxe: 175,
  /** Site-specific (RFC 3942 begins them here): the port of the site, 32 bits. */
  sitePort: 224,
} as const;

const PAD = 0;
const END = 255;

/** Bytes that one piece of an option can have. */
const LONGEST_PIECE = 255;

/** How long the values of known options may be: at least, at most, in steps of. */
const LENGTHS: ReadonlyMap<number, readonly [min: number, max: number, step: number]> = new Map([
  [DHCP_OPTION.subnetMask, [4, 4, 4]],
  [DHCP_OPTION.router, [4, 252, 4]],
  [DHCP_OPTION.dnsServers, [4, 252, 4]],
  [DHCP_OPTION.logServers, [4, 252, 4]],
  [DHCP_OPTION.hostName, [1, 255, 1]],
  [DHCP_OPTION.broadcastAddress, [4, 4, 4]],
  [DHCP_OPTION.vendorSpecific, [1, 1024, 1]],
  [DHCP_OPTION.requestedAddress, [4, 4, 4]],
  [DHCP_OPTION.leaseTime, [4, 4, 4]],
  [DHCP_OPTION.overload, [1, 1, 1]],
  [DHCP_OPTION.messageType, [1, 1, 1]],
  [DHCP_OPTION.serverIdentifier, [4, 4, 4]],
  [DHCP_OPTION.parameterRequest, [1, 255, 1]],
  [DHCP_OPTION.maximumSize, [2, 2, 2]],
  [DHCP_OPTION.renewalTime, [4, 4, 4]],
  [DHCP_OPTION.rebindingTime, [4, 4, 4]],
  [DHCP_OPTION.vendorClass, [1, 255, 1]],
  [DHCP_OPTION.clientIdentifier, [2, 255, 1]],
  [DHCP_OPTION.tftpServerName, [1, 255, 1]],
  [DHCP_OPTION.bootfileName, [1, 255, 1]],
  [DHCP_OPTION.userClass, [1, 255, 1]],
  [DHCP_OPTION.relayAgent, [2, 255, 1]],
  [DHCP_OPTION.clientArchitecture, [2, 32, 2]],
  [DHCP_OPTION.networkInterface, [3, 3, 3]],
  // One byte that says of which kind, and a UUID. ROMs without a UUID leave the option out or send it empty.
  [DHCP_OPTION.clientMachine, [0, 17, 17]],
  [DHCP_OPTION.ipxe, [1, 1024, 1]],
  [DHCP_OPTION.sitePort, [4, 4, 4]],
]);

/**
 * Reads one field of options up to its END, which has to be there; what stands behind it nobody reads. The pieces of
 * an option that comes several times are joined in their order (RFC 3396 §5), with those in `into` from fields before.
 *
 * @param offset of the field in the packet, for what is said of it.
 * @throws Malformed
 */
export function readOptionField(field: Uint8Array, offset: number, into: Map<number, Uint8Array>): void {
  walk(field, offset, true, (code, value) => {
    const before = into.get(code);
    into.set(code, before === undefined ? value : Buffer.concat([before, value]));
  });
}

/** @throws Malformed where an option whose length is known has another. */
export function checkOptionLengths(options: DhcpOptions): void {
  for (const [code, { length }] of options) {
    const [min, max, step] = LENGTHS.get(code) ?? [0, Number.MAX_SAFE_INTEGER, 1];
    if (length < min || length > max || length % step !== 0)
      throw new Malformed('DHCP', `option ${code} with ${length} bytes`);
  }
}

/** Bytes of options, END among them; values of more than 255 bytes in pieces (RFC 3396). @throws RangeError */
export function writeOptionField(options: DhcpOptions): Buffer {
  return Buffer.concat([...[...options].map(written), Buffer.of(END)]);
}

/**
 * Options inside an option: 43 of a PXE client (RFC 2132 §8.4, PXE 2.1 §2.2), 175 of iPXE. END may be missing there,
 * and no sub-option may come twice.
 *
 * @throws Malformed
 */
export function decodeEncapsulated(value: Uint8Array): DhcpOptions {
  const options = new Map<number, Uint8Array>();
  walk(value, 0, false, (code, piece, at) => {
    if (options.has(code)) throw new Malformed('DHCP', `sub-option ${code} twice`, at);
    options.set(code, piece);
  });
  return options;
}

/** @param end whether END is written, which PXE wants and iPXE does not need. @throws RangeError */
export function encodeEncapsulated(options: DhcpOptions, end: boolean): Buffer {
  for (const { length } of options.values())
    if (length > LONGEST_PIECE) throw new RangeError('a DHCP sub-option is at most 255 bytes');
  const field = writeOptionField(options);
  return end ? field : field.subarray(0, -1);
}

function walk(
  field: Uint8Array,
  offset: number,
  needsEnd: boolean,
  take: (code: number, value: Uint8Array, at: number) => void,
): void {
  let at = 0;
  while (at < field.length) {
    const code = field[at] ?? END;
    if (code === END) return;
    if (code === PAD) {
      at += 1;
      continue;
    }
    const length = field[at + 1];
    if (length === undefined) throw new Malformed('DHCP', `option ${code} without a length`, offset + at);
    const end = at + 2 + length;
    if (end > field.length)
      throw new Malformed('DHCP', `option ${code} goes past the end of its field`, offset + at);
    take(code, field.subarray(at + 2, end), offset + at);
    at = end;
  }
  if (needsEnd) throw new Malformed('DHCP', 'options without an end', offset + at);
}

function written([code, value]: readonly [number, Uint8Array]): Buffer {
  if (!Number.isInteger(code) || code <= PAD || code >= END)
    throw new RangeError('a DHCP option has a code from 1 to 254');
  const pieces: Buffer[] = [];
  for (let at = 0; at < value.length || pieces.length === 0; at += LONGEST_PIECE) {
    const piece = value.subarray(at, at + LONGEST_PIECE);
    pieces.push(Buffer.of(code, piece.length), Buffer.from(piece));
  }
  return Buffer.concat(pieces);
}
