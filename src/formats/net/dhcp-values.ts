import { Malformed } from '../../errors/malformed.ts';
import { DHCP_OPTION, type DhcpOptions, decodeEncapsulated, encodeEncapsulated } from './dhcp-options.ts';

/** What single options hold, for programs: text, numbers, a UUID. */

/** Text of an option as Latin-1; a NUL that some clients write behind it is left out. */
export function dhcpText(value: Uint8Array): string {
  return Buffer.from(value).toString('latin1').replace(/\0+$/, '');
}

/** @throws Malformed where it is not one byte. */
export function messageType(options: DhcpOptions): number | undefined {
  const value = options.get(DHCP_OPTION.messageType);
  if (value === undefined) return undefined;
  if (value.length !== 1) throw new Malformed('DHCP', 'a message type that is not one byte');
  return value[0];
}

/** What a client says that it is (RFC 4578 §2.1), as IANA numbers them; several where it is several. */
export function clientArchitectures(options: DhcpOptions): readonly number[] {
  const value = Buffer.from(options.get(DHCP_OPTION.clientArchitecture) ?? []);
  return Array.from({ length: value.length >> 1 }, (_, index) => value.readUInt16BE(index * 2));
}

/** @throws RangeError where one is not of 16 bits. */
export function encodeArchitectures(types: readonly number[]): Buffer {
  const bytes = Buffer.alloc(types.length * 2);
  for (const [index, type] of types.entries()) bytes.writeUInt16BE(type, index * 2);
  return bytes;
}

/**
 * User classes (RFC 3004 §4): each with its length before it. iPXE writes its one as bare text, so whatever is no
 * whole list is one class.
 */
export function userClasses(options: DhcpOptions): readonly string[] {
  const value = options.get(DHCP_OPTION.userClass);
  if (value === undefined) return [];
  const classes: string[] = [];
  for (let at = 0; at < value.length; ) {
    const length = value[at] ?? 0;
    if (length === 0 || at + 1 + length > value.length) return [dhcpText(value)];
    classes.push(dhcpText(value.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return classes;
}

/** As RFC 3004 §4 writes them. @throws RangeError */
export function encodeUserClasses(classes: readonly string[]): Buffer {
  return Buffer.concat(
    classes.map((text) => {
      const bytes = Buffer.from(text, 'latin1');
      if (bytes.length < 1 || bytes.length > 254) throw new RangeError('a user class is 1 to 254 bytes');
      return Buffer.concat([Buffer.of(bytes.length), bytes]);
    }),
  );
}

export interface MachineUuid {
  /**
   * As SMBIOS 2.6, iPXE and dmidecode print it: lower case, with dashes. Its first three fields travel with their
   * low byte first (RFC 4578 §2.3).
   */
  readonly uuid: string;
  /** In the order of its bytes, as some older firmware means it. */
  readonly asSent: string;
}

/** Option 97; undefined where there is none, one of another kind, or one that is no machine's own (all 0, all F). */
export function machineUuid(options: DhcpOptions): MachineUuid | undefined {
  const value = options.get(DHCP_OPTION.clientMachine);
  if (value === undefined || value.length !== 17 || value[0] !== 0) return undefined;
  const bytes = Buffer.from(value.subarray(1));
  if (bytes.every((byte) => byte === 0) || bytes.every((byte) => byte === 0xff)) return undefined;
  return { uuid: dashed(swapped(bytes)), asSent: dashed(bytes) };
}

/** Option 97 of a machine whose UUID is printed like this. @throws RangeError */
export function encodeMachineUuid(uuid: string): Buffer {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid))
    throw new RangeError('a UUID is lower-case hex with dashes');
  return Buffer.concat([Buffer.of(0), swapped(Buffer.from(uuid.replaceAll('-', ''), 'hex'))]);
}

/** Codes inside option 43 of a PXE client (PXE 2.1 §2.2). */
export const PXE_OPTION = { discoveryControl: 6, bootMenu: 9, menuPrompt: 10, bootItem: 71 } as const;

/** Sub-option 71 of a client that chose from a menu: type and layer, as sent. @throws Malformed */
export function bootItem(options: DhcpOptions): Uint8Array | undefined {
  const value = options.get(DHCP_OPTION.vendorSpecific);
  const item = value && decodeEncapsulated(value).get(PXE_OPTION.bootItem);
  if (item !== undefined && item.length !== 4) throw new Malformed('DHCP', 'a boot item that is not 4 bytes');
  return item;
}

/** Option 43 that says: take the file of this offer by TFTP at once, ask nobody (discovery control, bit 3). */
export const TFTP_AT_ONCE: Uint8Array = encodeEncapsulated(
  new Map([[PXE_OPTION.discoveryControl, Buffer.of(8)]]),
  true,
);

/** Codes inside iPXE's option 175. */
export const IPXE_OPTION = { priority: 1 } as const;

/** Option 175 that makes iPXE prefer an offer to that of a DHCP server which names a file, too. */
export const IPXE_PRIORITY: Uint8Array = encodeEncapsulated(
  new Map([[IPXE_OPTION.priority, Buffer.of(1)]]),
  false,
);

function swapped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy.subarray(0, 4).swap32();
  copy.subarray(4, 8).swap16();
  return copy;
}

function dashed(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
