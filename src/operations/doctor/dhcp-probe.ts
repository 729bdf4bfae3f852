import { randomInt } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { setTimeout } from 'node:timers/promises';
import { Malformed } from '../../errors/malformed.ts';
import { DHCP_PORTS } from '../../serve/dhcp/dhcp-sockets.ts';
import { decodeOffer, encodeDiscover, type LanOffer } from './dhcp-offer.ts';

export interface ProbedLan {
  /** By server, the first of each. */
  readonly offers: readonly LanOffer[];
  readonly unreadable: readonly string[];
}

/** Offers that are kept; more servers than that nobody reads. */
const MOST = 32;
const EVERYBODY = '255.255.255.255';

/**
 * Asks one LAN as firmware does, by one datagram, and hears who offers what. Nothing is asked for beyond that, so no
 * server gives an address away.
 *
 * @param address of this machine on that LAN; it decides where the question goes out.
 * @param waitMs a server that pings an address before it offers it takes some seconds.
 * @throws what the system says where port 68 cannot be had (`EADDRINUSE`: a DHCP client that shares it with nobody).
 */
export async function probeLan(mac: string, address: string, waitMs: number): Promise<ProbedLan> {
  const xid = randomInt(2 ** 32);
  const offers = new Map<string, LanOffer>();
  const unreadable = new Set<string>();
  // A socket that is bound to one address hears no broadcasts.
  const listener = await bound(undefined);
  let sender: Socket | undefined;
  try {
    listener.on('message', (bytes, { address: from }) => {
      if (offers.size + unreadable.size >= MOST) return;
      try {
        const offer = decodeOffer(bytes, xid, from);
        if (offer && !offers.has(key(offer))) offers.set(key(offer), offer);
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        unreadable.add(from);
      }
    });
    sender = await bound(address);
    sender.setBroadcast(true);
    await send(sender, encodeDiscover(mac, xid));
    await setTimeout(waitMs);
  } finally {
    listener.close();
    sender?.close();
  }
  return { offers: [...offers.values()], unreadable: [...unreadable] };
}

/** One machine may give addresses and be a ProxyDHCP server as well. */
function key({ server, network }: LanOffer): string {
  return `${server} ${network === undefined}`;
}

function bound(address: string | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type: 'udp4', reuseAddr: true });
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind(
      { port: DHCP_PORTS.client, exclusive: true, ...(address === undefined ? {} : { address }) },
      () => {
        socket.removeAllListeners('error').on('error', () => {});
        resolve(socket);
      },
    );
  });
}

function send(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(bytes, DHCP_PORTS.server, EVERYBODY, (error) => (error ? reject(error) : resolve()));
  });
}
