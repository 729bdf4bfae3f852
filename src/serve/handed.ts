import { createSocket, type Socket } from 'node:dgram';
import { readFileSync, readlinkSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { codeOf } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';

/**
 * What sockets that somebody else opened may be for: sd_listen_fds(3) calls it a name, and a socket unit says it with
 * `FileDescriptorName=`.
 */
export const SOCKET_NAMES = ['http', 'https', 'tftp', 'nbd', 'dhcp', 'dhcp-pxe', 'syslog'] as const;
export type SocketName = (typeof SOCKET_NAMES)[number];

/**
 * Descriptors of sockets that were opened before this process began, at addresses that were chosen there. A server that is
 * given one binds nothing itself, and needs no privilege for it; when it closes it, whoever opened it has it still.
 */
export type HandedSockets = ReadonlyMap<SocketName, readonly number[]>;

/**
 * Throws a `UsageError` where a socket was handed over for what is not served: clients would be left standing at a door
 * behind which nobody is.
 */
export function demandServed(sockets: HandedSockets, served: Readonly<Record<SocketName, boolean>>): void {
  for (const name of sockets.keys())
    if (!served[name])
      throw new UsageError(
        `A socket for ${name} was handed over, which this server was not told to serve; take its socket unit away, or have it served.`,
      );
}

/**
 * A datagram socket of a descriptor. It receives from now on: what has come already, such as the request for which this
 * process was started, is told as soon as this turn of the event loop ends.
 *
 * @param what `TFTP`, `DHCP`, for messages.
 * @throws UsageError where it is none.
 */
export function handedDatagram(what: string, fd: number): Socket {
  const family = datagramFamily(fd);
  if (family === undefined)
    throw new UsageError(
      `${what} was handed the descriptor ${fd}, which is no UDP socket of this network; its socket unit needs ListenDatagram=.`,
    );
  const socket = createSocket({
    type: family,
    // Addresses are never looked up: they come from datagrams and from interfaces.
    lookup: (host, _options, callback) => callback(null, host, isIPv6(host) ? 6 : 4),
  });
  // Over at once, unlike binding to an address.
  return socket.bind({ fd });
}

/** Node asks for the family when it makes a socket, and tells it only afterwards: the kernel's tables say it before (proc(5)). */
function datagramFamily(fd: number): 'udp4' | 'udp6' | undefined {
  const inode = /^socket:\[(\d+)\]$/.exec(target(fd))?.[1];
  if (inode === undefined) return undefined;
  if (tableHolds('udp', inode)) return 'udp4';
  return tableHolds('udp6', inode) ? 'udp6' : undefined;
}

function target(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    throw error;
  }
}

function tableHolds(table: 'udp' | 'udp6', inode: string): boolean {
  let text: string;
  try {
    text = readFileSync(`/proc/self/net/${table}`, 'latin1');
  } catch (error) {
    // A kernel without IPv6 has no second table.
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
  return text
    .split('\n')
    .slice(1)
    .some((line) => line.trim().split(/\s+/)[9] === inode);
}
