import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
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

const COOKIE = Buffer.from([99, 130, 83, 99]);
/** Everything that a PXE client asks for and a boot needs: 1 3 6 43 54 60 66 67 97. */
const WANTED = Buffer.from([1, 3, 6, 43, 54, 60, 66, 67, 97]);

/** RFC 2131 §2, with the broadcast flag: a client without an address hears nothing else. */
export function encodeDiscover(
  { mac, vendorClass, architecture, userClass }: DhcpQuestion,
  xid: number,
): Buffer {
  const head = Buffer.alloc(236);
  head.set([1, 1, 6, 0]);
  head.writeUInt32BE(xid, 4);
  head.writeUInt16BE(0x8000, 10);
  head.set(Buffer.from(mac.replaceAll(':', ''), 'hex'), 28);
  const option = (code: number, value: Uint8Array) =>
    Buffer.concat([Buffer.from([code, value.length]), value]);
  const options = [
    option(53, Buffer.from([1])),
    option(55, WANTED),
    option(57, Buffer.from([0x05, 0xc0])),
    ...(vendorClass === undefined ? [] : [option(60, Buffer.from(vendorClass))]),
    ...(userClass === undefined ? [] : [option(77, Buffer.from(userClass, 'latin1'))]),
    ...(architecture === undefined ? [] : [option(93, Buffer.from([architecture >> 8, architecture & 255]))]),
    Buffer.from([255]),
  ];
  const packet = Buffer.concat([head, COOKIE, ...options]);
  return Buffer.concat([packet, Buffer.alloc(Math.max(0, 300 - packet.length))]);
}

/** Undefined for what is no offer with that transaction. */
export function decodeOffer(packet: Buffer, xid: number): DhcpOffer | undefined {
  if (packet.length < 240 || packet[0] !== 2 || packet.readUInt32BE(4) !== xid) return undefined;
  const options = new Map<number, Buffer>();
  for (let at = 240; at < packet.length && packet[at] !== 255; ) {
    const [code = 0, length = 0] = packet.subarray(at, at + 2);
    if (code === 0) {
      at += 1;
      continue;
    }
    options.set(code, packet.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  if (options.get(53)?.[0] !== 2) return undefined;
  const text = (bytes: Buffer | undefined) => bytes?.toString('latin1').replace(/\0.*$/s, '');
  const vendorClass = text(options.get(60));
  const server = options.get(54);
  return {
    nextServer: [...packet.subarray(20, 24)].join('.'),
    file: text(packet.subarray(108, 236)) || text(options.get(67)) || '',
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
        sender.send(encodeDiscover(question, xid), 67, '255.255.255.255', (error) => {
          if (error) reject(error);
        });
    };
    for (const each of [socket, sender]) each.on('error', reject);
    socket.on('message', (packet, { address: from }) => {
      const offer = decodeOffer(packet, xid);
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
