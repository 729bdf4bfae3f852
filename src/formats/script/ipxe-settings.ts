import { Malformed } from '../../errors/malformed.ts';

/**
 * iPXE's setting types: text ⇄ bytes. Source: iPXE `src/core/settings.c`, `src/core/base16.c`,
 * `src/core/base64.c`, `src/core/uuid.c`, `src/net/ipv4.c`, as of 2026-08.
 *
 * A setting is bytes; its type is only a way to read them, and `${name:type}` may read them by another type
 * than they were stored with. Text is one character per byte.
 *
 * Beware: the unsigned types are written in hexadecimal. `set port:uint16 8080` makes `${port}` expand to
 * `0x1f90`, which iPXE takes in a URL and the world's other programs do not. The signed types are decimal.
 */
export const SETTING_TYPES = [
  'string',
  'uristring',
  'ipv4',
  'ipv6',
  'int8',
  'int16',
  'int32',
  'uint8',
  'uint16',
  'uint32',
  'hex',
  'hexhyp',
  'hexraw',
  'base64',
  'uuid',
  'guid',
  'busdevfn',
  'dnssl',
] as const;

export type SettingType = (typeof SETTING_TYPES)[number];

export function isSettingType(name: string): name is SettingType {
  return (SETTING_TYPES as readonly string[]).includes(name);
}

/** A setting that iPXE knows by name. */
export interface PredefinedSetting {
  readonly type: SettingType;
  /** DHCP option, `50` or `175.3`, by which a DHCP server can give it a value. */
  readonly dhcp?: string;
  /** Only one settings block answers it, whatever DHCP says: `builtin`, `smbios` or the network device. */
  readonly from?: 'builtin' | 'smbios' | 'netdev';
}

/** The settings iPXE predefines and a boot script may meet. Others are scratch settings, strings by default. */
export const PREDEFINED_SETTINGS: ReadonlyMap<string, PredefinedSetting> = new Map(
  Object.entries<PredefinedSetting>({
    asset: { type: 'string', from: 'smbios' },
    manufacturer: { type: 'string', from: 'smbios' },
    product: { type: 'string', from: 'smbios' },
    serial: { type: 'string', from: 'smbios' },
    'board-serial': { type: 'string', from: 'smbios' },
    uuid: { type: 'uuid', from: 'smbios' },
    buildarch: { type: 'string', from: 'builtin' },
    cwduri: { type: 'string', from: 'builtin' },
    cwuri: { type: 'string', from: 'builtin' },
    errno: { type: 'uint32', from: 'builtin' },
    platform: { type: 'string', from: 'builtin' },
    unixtime: { type: 'uint32', from: 'builtin' },
    version: { type: 'string', from: 'builtin' },
    mac: { type: 'hex', from: 'netdev' },
    hwaddr: { type: 'hex', from: 'netdev' },
    ifname: { type: 'string', from: 'netdev' },
    linktype: { type: 'string', from: 'netdev' },
    chip: { type: 'string', from: 'netdev' },
    bustype: { type: 'string', from: 'netdev' },
    busloc: { type: 'uint32', from: 'netdev' },
    busid: { type: 'hex', from: 'netdev' },
    ip: { type: 'ipv4', dhcp: '175.2' },
    netmask: { type: 'ipv4', dhcp: '1' },
    gateway: { type: 'ipv4', dhcp: '3' },
    dns: { type: 'ipv4', dhcp: '6' },
    syslog: { type: 'ipv4', dhcp: '7' },
    hostname: { type: 'string', dhcp: '12' },
    domain: { type: 'string', dhcp: '15' },
    'root-path': { type: 'string', dhcp: '17' },
    mtu: { type: 'int16', dhcp: '26' },
    ntp: { type: 'ipv4', dhcp: '42' },
    'dhcp-server': { type: 'ipv4', dhcp: '54' },
    'vendor-class': { type: 'string', dhcp: '60' },
    filename: { type: 'string', dhcp: '67' },
    'user-class': { type: 'string', dhcp: '77' },
    dnssl: { type: 'dnssl', dhcp: '119' },
    'static-routes': { type: 'hex', dhcp: '121' },
    'initiator-iqn': { type: 'string', dhcp: '203' },
    priority: { type: 'int8', dhcp: '175.1' },
    'next-server': { type: 'ipv4', dhcp: '175.3' },
    'keep-san': { type: 'int8', dhcp: '175.8' },
    'skip-san-boot': { type: 'int8', dhcp: '175.9' },
    scriptlet: { type: 'string', dhcp: '175.81' },
    syslogs: { type: 'string', dhcp: '175.85' },
    crosscert: { type: 'string', dhcp: '175.93' },
    trust: { type: 'hex', dhcp: '175.90' },
    'san-filename': { type: 'string', dhcp: '175.188' },
    'san-drive': { type: 'uint8', dhcp: '175.189' },
    username: { type: 'string', dhcp: '175.190' },
    password: { type: 'string', dhcp: '175.191' },
  }),
);

/**
 * Reads a setting's name as a DHCP option number, as iPXE does: `66`, `0x42`, `175.3`. Undefined when it is
 * a name.
 */
export function settingTag(name: string): string | undefined {
  const parts = name.split('.').map((part) => parseUnsigned(part));
  if (parts.some((part) => part === undefined)) return undefined;
  return parts.join('.');
}

/** C's `strtoul(…, 0)` over a whole text: decimal, `0x…`, octal with a leading `0`, optional sign. */
export function parseUnsigned(text: string): bigint | undefined {
  const match = /^[ \f\n\r\t\v]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(text);
  if (match === null) return undefined;
  const [, sign, hex, octal, decimal] = match;
  const digits = hex !== undefined ? `0x${hex}` : octal !== undefined ? `0o${octal}` : (decimal ?? '0');
  return sign === '-' ? -BigInt(digits) : BigInt(digits);
}

/**
 * iPXE's own `strtoul(…, 0)` (`src/core/misc.c`), as far as an `unsigned int` holds it: it never fails, higher bits are
 * lost on the way (so 4294967296 is 0), and no digits at all are 0. Whether all of the text was a number shows in the
 * rest, which is empty then: for `""`, `0x` and `+`, too.
 */
export function strtoul(text: string): { readonly value: number; readonly rest: string } {
  const match = /^[ \f\n\r\t\v]*([+-]?)(?:0[xX]([0-9a-fA-F]*)|0([0-7]*)|([0-9]*))([\s\S]*)$/.exec(text);
  const [, sign, hex, octal, decimal, rest = text] = match ?? [];
  const digits =
    hex !== undefined ? `0x${hex || '0'}` : octal !== undefined ? `0o${octal || '0'}` : decimal || '0';
  const value = BigInt(digits);
  return { value: Number(BigInt.asUintN(32, sign === '-' ? -value : value)), rest };
}

const FORMAT = 'iPXE setting';

/** Text → bytes. Throws `Malformed` where iPXE answers "Invalid argument". */
export function parseSetting(type: SettingType, text: string): Uint8Array {
  switch (type) {
    case 'string':
      return latin1(text);
    case 'uristring':
      return latin1(
        text.replace(/%([0-9a-fA-F]{1,2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
      );
    case 'ipv4': {
      const parts = text.split('.').map(parseUnsigned);
      if (parts.length !== 4) throw new Malformed(FORMAT, 'not an IPv4 address');
      return Uint8Array.from(parts, (part) => {
        if (part === undefined || part < 0n || part > 255n)
          throw new Malformed(FORMAT, 'not an IPv4 address');
        return Number(part);
      });
    }
    case 'int8':
    case 'uint8':
    case 'int16':
    case 'uint16':
    case 'int32':
    case 'uint32': {
      const { value, rest } = strtoul(text);
      if (rest !== '') throw new Malformed(FORMAT, 'not an integer');
      return settingFromNumber(type, BigInt(value));
    }
    case 'hex':
      return fromHex(text, ':');
    case 'hexhyp':
      return fromHex(text, '-');
    case 'hexraw':
      return fromHex(text, '');
    case 'base64': {
      const plain = text.replace(/[ \f\n\r\t\v]/g, '');
      if (!/^[A-Za-z0-9+/]*={0,2}$/.test(plain) || plain.length % 4 !== 0)
        throw new Malformed(FORMAT, 'not base64');
      return new Uint8Array(Buffer.from(plain, 'base64'));
    }
    case 'uuid':
    case 'guid': {
      // iPXE takes hyphens between any two bytes as optional.
      const octets = fromHex(text.replace(/([0-9a-fA-F]{2})-(?=.)/g, '$1'), '');
      if (octets.length !== 16) throw new Malformed(FORMAT, 'not a UUID');
      return type === 'guid' ? mangle(octets) : octets;
    }
    default:
      throw new Malformed(FORMAT, `type ${type} cannot be stored here`);
  }
}

/** Bytes → text. Undefined where iPXE cannot format them, which a script sees as the empty string. */
export function formatSetting(type: SettingType, octets: Uint8Array): string | undefined {
  const hex = (separator: string): string =>
    Array.from(octets, (octet) => octet.toString(16).padStart(2, '0')).join(separator);
  switch (type) {
    case 'string': {
      const text = Buffer.from(octets).toString('latin1');
      const nul = text.indexOf('\0');
      return nul < 0 ? text : text.slice(0, nul);
    }
    case 'uristring':
      return uriEncode(octets);
    case 'ipv4':
      return octets.length < 4 ? undefined : octets.subarray(0, 4).join('.');
    case 'int8':
    case 'int16':
    case 'int32':
      return settingToNumber(octets, true)?.toString();
    case 'uint8':
    case 'uint16':
    case 'uint32': {
      const value = settingToNumber(octets, false);
      return value === undefined ? undefined : `0x${value.toString(16)}`;
    }
    case 'hex':
      return hex(':');
    case 'hexhyp':
      return hex('-');
    case 'hexraw':
      return hex('');
    case 'base64':
      return Buffer.from(octets).toString('base64');
    case 'uuid':
    case 'guid': {
      if (octets.length !== 16) return undefined;
      const plain = Buffer.from(type === 'guid' ? mangle(octets) : octets).toString('hex');
      return plain.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
    }
    default:
      return undefined;
  }
}

/** Bytes of iPXE's `unsigned long` where it is built for 64 bits. */
const LONG = 8;

/**
 * Bytes, big-endian, as a number; `signed` extends the sign of the first byte. Undefined where iPXE answers
 * "Result too large": more than eight bytes, and those in front say more than the sign.
 */
export function settingToNumber(octets: Uint8Array, signed: boolean): bigint | undefined {
  const pad = signed && (octets[0] ?? 0) >= 0x80 ? 0xff : 0;
  const split = Math.max(0, octets.length - LONG);
  if (octets.subarray(0, split).some((octet) => octet !== pad)) return undefined;
  let value = pad === 0 ? 0n : -1n;
  for (const octet of octets.subarray(split)) value = (value << 8n) | BigInt(octet);
  return signed ? BigInt.asIntN(64, value) : value;
}

/** A number as bytes of an integer type; higher bits are cut, as in C. Throws `Malformed` for other types. */
export function settingFromNumber(type: SettingType, value: bigint): Uint8Array {
  const width = { int8: 1, uint8: 1, int16: 2, uint16: 2, int32: 4, uint32: 4 }[type as string];
  if (width === undefined) throw new Malformed(FORMAT, `${type} is not an integer type`);
  return Uint8Array.from({ length: width }, (_, index) =>
    Number((value >> BigInt(8 * (width - 1 - index))) & 0xffn),
  );
}

function latin1(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

function fromHex(text: string, separator: string): Uint8Array {
  const digits = separator === '' ? (text.match(/.{1,2}/gs) ?? []) : text === '' ? [] : text.split(separator);
  return Uint8Array.from(digits, (pair) => {
    if (!/^[0-9a-fA-F]{2}$/.test(pair)) throw new Malformed(FORMAT, 'not a string of hexadecimal bytes');
    return Number.parseInt(pair, 16);
  });
}

/** Percent-encodes everything a URI reader could take for syntax. */
function uriEncode(octets: Uint8Array): string {
  return [...octets]
    .map((octet) => {
      const character = String.fromCharCode(octet);
      return octet <= 0x20 || octet >= 0x7f || '%/#:@?=&+'.includes(character)
        ? `%${octet.toString(16).toUpperCase().padStart(2, '0')}`
        : character;
    })
    .join('');
}

/** The byte order of a GUID: the first three fields are little-endian. */
function mangle(octets: Uint8Array): Uint8Array {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(order, (index) => octets[index] ?? 0);
}
