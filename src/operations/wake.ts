import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { codeOf, IoError, inWords } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { UsageError } from '../errors/usage.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import { decodeWakePassword, encodeMagicPacket, WAKE_PORT } from '../formats/net/magic-packet.ts';

export interface WakeOptions {
  readonly macs: readonly string[];
  /** The card to send from; default: every one that has an IPv4 address, but the loopback. */
  readonly interface?: string;
  /** Where to, default 255.255.255.255: another network's broadcast address, where its router lets that through. */
  readonly broadcast?: string;
  /** SecureOn: six bytes as `00:11:22:33:44:55`, or four as `1.2.3.4`. */
  readonly password?: string;
  /** Default 9. */
  readonly port?: number;
}

/** One magic packet that this machine's kernel took. Nobody answers one. */
export interface WakeSent {
  readonly mac: string;
  /** Undefined where the routing table chose. */
  readonly interface: string | undefined;
  readonly from: string | undefined;
  readonly to: string;
  readonly port: number;
  readonly bytes: number;
}

interface Sender {
  readonly name: string | undefined;
  readonly address: string | undefined;
}

const EVERYONE = '255.255.255.255';

/**
 * Sends a magic packet to each machine. All addresses are looked at before the first is sent.
 *
 * @throws UsageError; IoError where nothing can be sent.
 */
export async function wake(options: WakeOptions): Promise<readonly WakeSent[]> {
  const { broadcast: to = EVERYONE, port = WAKE_PORT } = options;
  const macs = options.macs.map(card);
  if (macs.length === 0) throw new UsageError('Name the MAC address of a machine.');
  if (!isIPv4(to)) throw new UsageError(`--broadcast ${to} is no IPv4 address.`);
  const password = options.password === undefined ? undefined : secret(options.password);
  const sent: WakeSent[] = [];
  for (const sender of sendersOf(options)) {
    const socket = await senderSocket(sender);
    try {
      for (const mac of macs) {
        const packet = encodeMagicPacket(mac, password);
        await send(socket, packet, { to, port, sender });
        sent.push({
          mac,
          interface: sender.name,
          from: sender.address,
          to,
          port,
          bytes: packet.length,
        });
      }
    } finally {
      socket.close();
    }
  }
  return sent;
}

/** `52:54:00:12:34:56` */
function card(text: string): string {
  const mac = claimedMac(text);
  if (mac !== undefined) return mac;
  throw new UsageError(
    `${JSON.stringify(text)} is no card’s address; write six pairs of hexadecimal digits, as in 52:54:00:12:34:56.`,
  );
}

/** What is wrong with it is said without it. */
function secret(text: string): Buffer {
  try {
    return decodeWakePassword(text);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new UsageError(
      'The SecureOn password is none: write six bytes as in 00:11:22:33:44:55, or four as in 1.2.3.4.',
    );
  }
}

/** Where a broadcast goes out is decided by the address that it is sent from. */
function sendersOf({ interface: wanted, broadcast }: WakeOptions): readonly Sender[] {
  // A network's own broadcast address, or one machine's, is the routing table's to reach.
  if (wanted === undefined && broadcast !== undefined && broadcast !== EVERYONE)
    return [{ name: undefined, address: undefined }];
  const all = networkInterfaces();
  if (wanted !== undefined && !Object.hasOwn(all, wanted))
    throw new UsageError(`There is no interface ${wanted} here that is up and has an address.`);
  const senders = Object.entries(all).flatMap(([name, addresses = []]) => {
    if (wanted === undefined ? addresses.some(({ internal }) => internal) : name !== wanted) return [];
    const address = addresses.find(({ family }) => family === 'IPv4')?.address;
    return address === undefined ? [] : [{ name, address }];
  });
  if (senders.length > 0) return senders;
  throw new UsageError(
    wanted === undefined
      ? 'No interface here has an IPv4 address; name where to with --broadcast.'
      : `The interface ${wanted} has no IPv4 address to send from.`,
  );
}

async function senderSocket({ name, address }: Sender): Promise<Socket> {
  const socket = createSocket('udp4');
  const bound = once(socket, 'listening');
  socket.bind({ port: 0, ...(address === undefined ? {} : { address }) });
  try {
    await bound;
    socket.setBroadcast(true);
  } catch (error) {
    socket.close();
    throw new IoError(
      `Nothing can be sent from ${name ?? 'this machine'}: ${inWords(error)}.`,
      name ?? '',
      codeOf(error),
      { cause: error },
    );
  }
  return socket;
}

async function send(
  socket: Socket,
  packet: Buffer,
  { to, port, sender }: { readonly to: string; readonly port: number; readonly sender: Sender },
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.send(packet, port, to, (error) => {
      if (!error) return resolve();
      const from = sender.name === undefined ? '' : ` from ${sender.name}`;
      reject(
        new IoError(`Nothing was sent to ${to}${from}: ${inWords(error)}.`, to, codeOf(error), {
          cause: error,
        }),
      );
    });
  });
}
