import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { DHCP_MESSAGE, decodeDhcp, encodeDhcp } from '../src/formats/net/dhcp.ts';
import { DHCP_OPTION } from '../src/formats/net/dhcp-options.ts';
import { dhcpText, encodeArchitectures, messageType } from '../src/formats/net/dhcp-values.ts';
import { execute } from './command.ts';

/**
 * A client that asks for an address as some firmware does, and shows what it is offered. Run as a program, inside a
 * namespace whose one card has an address of its own already.
 */
export interface DhcpQuestion {
  /** `52:54:00:00:00:07` */
  readonly mac: string;
  /** Option 60. */
  readonly vendorClass?: string;
  /** Option 93. */
  readonly architecture?: number;
  /** Option 77, as these bytes. */
  readonly userClass?: string;
}

export interface DhcpOffer {
  /** siaddr */
  readonly nextServer: string;
  /** The field, or option 67 where that is empty. */
  readonly file: string;
  /** Option 60. */
  readonly vendorClass?: string;
  /** Option 54. */
  readonly server?: string;
}

/** Everything that a PXE client asks for and a boot needs. */
const WANTED = [1, 3, 6, 43, 54, 60, 66, 67, 97];
const NOBODY = '0.0.0.0';

/** With the broadcast flag: a client without an address hears nothing else. */
function discover({ mac, vendorClass, architecture, userClass }: DhcpQuestion, xid: number): Buffer {
  const chaddr = Buffer.alloc(16);
  chaddr.set(Buffer.from(mac.replaceAll(':', ''), 'hex'));
  const options = new Map<number, Uint8Array>([
    [DHCP_OPTION.messageType, Buffer.from([DHCP_MESSAGE.discover])],
    [DHCP_OPTION.parameterRequest, Buffer.from(WANTED)],
  ]);
  if (vendorClass !== undefined) options.set(DHCP_OPTION.vendorClass, Buffer.from(vendorClass));
  if (userClass !== undefined) options.set(DHCP_OPTION.userClass, Buffer.from(userClass, 'latin1'));
  if (architecture !== undefined)
    options.set(DHCP_OPTION.clientArchitecture, encodeArchitectures([architecture]));
  return encodeDhcp({
    ...{ op: 1, htype: 1, hlen: 6, hops: 0, xid, secs: 0, broadcast: true, chaddr, sname: '', file: '' },
    ...{ ciaddr: NOBODY, yiaddr: NOBODY, siaddr: NOBODY, giaddr: NOBODY, options },
  });
}

/** Undefined for what is no offer with that transaction. */
function offerIn(bytes: Buffer, transaction: number): DhcpOffer | undefined {
  const { op, xid, siaddr, file, options } = decodeDhcp(bytes);
  if (op !== 2 || xid !== transaction || messageType(options) !== DHCP_MESSAGE.offer) return undefined;
  const text = (code: number) => {
    const value = options.get(code);
    return value && dhcpText(value).replace(/\0+$/, '');
  };
  const vendorClass = text(DHCP_OPTION.vendorClass);
  const server = options.get(DHCP_OPTION.serverIdentifier);
  return {
    nextServer: siaddr,
    file: file || text(DHCP_OPTION.bootfileName) || '',
    ...(vendorClass === undefined ? {} : { vendorClass }),
    ...(server === undefined ? {} : { server: [...server].join('.') }),
  };
}

/**
 * Asks inside a network namespace, again each second as firmware does, until `count` servers have offered something.
 *
 * @param namespace as `ip netns` names it.
 */
export async function askDhcp(
  namespace: string,
  question: DhcpQuestion,
  count = 1,
): Promise<readonly DhcpOffer[]> {
  const program = [process.execPath, fileURLToPath(import.meta.url), JSON.stringify(question), String(count)];
  const { status, stdout, stderr } = await execute('ip', ['netns', 'exec', namespace, ...program]);
  if (status !== 0) throw new Error(`asking DHCP failed:\n${stderr}`);
  return JSON.parse(stdout);
}

const TRIES = 15;

function ask(question: DhcpQuestion, count: number): Promise<readonly DhcpOffer[]> {
  const xid = Date.now() % 0x7fffffff;
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  // Which card a broadcast leaves by is decided by the address it is sent from, and a socket with one hears none.
  const sender = createSocket({ type: 'udp4', reuseAddr: true });
  const address = Object.values(networkInterfaces())
    .flat()
    .find((found) => found?.family === 'IPv4' && !found.internal)?.address;
  const offers = new Map<string, DhcpOffer>();
  return new Promise((resolve, reject) => {
    let tries = 0;
    const send = () => {
      if (++tries > TRIES) reject(new Error(`${offers.size} of ${count} servers answered in ${TRIES} tries`));
      else
        sender.send(discover(question, xid), 67, '255.255.255.255', (error) => {
          if (error) reject(error);
        });
    };
    for (const each of [socket, sender]) each.on('error', reject);
    socket.on('message', (packet, { address: from }) => {
      const offer = offerIn(packet, xid);
      if (offer) offers.set(offer.server ?? from, offer);
      if (offers.size < count) return;
      clearInterval(again);
      socket.close();
      sender.close();
      resolve([...offers.values()]);
    });
    const again = setInterval(send, 1000);
    if (address === undefined) reject(new Error('no card here has an address to send from'));
    socket.bind(68, () =>
      sender.bind(68, address, () => {
        sender.setBroadcast(true);
        send();
      }),
    );
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , question = '{}', count = '1'] = process.argv;
  ask(JSON.parse(question), Number(count)).then(
    (offers) => process.stdout.write(JSON.stringify(offers)),
    (error: unknown) => {
      process.stderr.write(`${error}\n`);
      process.exit(1);
    },
  );
}
