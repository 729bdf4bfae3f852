import { Malformed } from '../../errors/malformed.ts';
import { claimedMac } from './machine-claims.ts';

/**
 * A line of a loader's console as iPXE sends it (iPXE `src/net/udp/syslog.c`; RFC 3164 without its time): one datagram,
 * `<pri>host.domain ipxe: text`, where host and domain are what DHCP gave, and may be missing. Anybody can send one.
 */
export interface SyslogLine {
  /** 0 to 191: facility times 8, and severity. */
  readonly priority: number;
  /** What the sender calls itself; undefined where it has no name. Escaped, as the text is. */
  readonly host?: string;
  /** Printable ASCII, everything else and the backslash escaped; at most 512 characters, and perhaps none. */
  readonly text: string;
  /** `52:54:00:12:34:56`: where the text names the card of an interface, that. */
  readonly mac?: string;
}

/** RFC 3164 §4.1: bytes of a datagram. */
export const MAX_SYSLOG = 1024;
/** Characters that are kept of a text and of a name; iPXE sends 127 at a time. */
const MOST_TEXT = 512;
const MOST_HOST = 255;

const HEAD = /^<(0|[1-9][0-9]{0,2})>(?:([^ ]{1,255}) )?ipxe: /;
/** `Configuring (net0 52:54:00:91:00:01)`, `net0: 52:54:00:91:00:01 using virtio-net` */
const CARD = /\bnet[0-9]{1,3}:? ([0-9a-f]{2}(?::[0-9a-f]{2}){5})\b/;

/** @throws Malformed for what no iPXE sends. */
export function decodeSyslog(bytes: Uint8Array): SyslogLine {
  if (bytes.length > MAX_SYSLOG) throw malformed(`it has more than ${MAX_SYSLOG} bytes`);
  const whole = Buffer.from(bytes).toString('latin1');
  const [head, priority = '', host] = HEAD.exec(whole) ?? [];
  if (head === undefined) throw malformed('it does not begin as a line of iPXE does');
  if (Number(priority) > 191) throw malformed('there is no such priority');
  const text = whole.slice(head.length).replace(/[\r\n\0]+$/, '');
  const mac = claimedMac(CARD.exec(text)?.[1]);
  return {
    priority: Number(priority),
    ...(host === undefined ? {} : { host: escaped(host, MOST_HOST) }),
    text: escaped(text, MOST_TEXT),
    ...(mac === undefined ? {} : { mac }),
  };
}

/** What a terminal would obey is written by its code, and so is what makes such a code look like text. */
function escaped(text: string, most: number): string {
  return text
    .replace(/[^\x20-\x5b\x5d-\x7e]/g, (character) =>
      character === '\\' ? '\\\\' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
    )
    .slice(0, most);
}

function malformed(fact: string): Malformed {
  return new Malformed('syslog of iPXE', fact);
}
