import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, inWords } from '../../errors/io.ts';
import { readIfThere } from '../../files/read-if-there.ts';
import { decodeIpAddress } from '../../formats/net/ip-address.ts';

/** What to do about programs that are found at port 67. */
const REMEDIES: Readonly<Record<string, string>> = {
  dnsmasq:
    'it takes the port for all addresses; write "bind-interfaces" (or "bind-dynamic") into its configuration, restart it, then start this',
  'kea-dhcp4': 'it shares its address with nobody; run one of the two on another machine',
};

/**
 * Who holds a UDP port, as the end of a sentence that also says what to do. Only root is told of other users' programs.
 * What cannot be read is said, and ends nothing: the reader has a fault to be told of already.
 *
 * @param proc where the kernel tells of itself, proc(5).
 */
export async function portHolder(port: number, proc = '/proc'): Promise<string> {
  let unread = '';
  try {
    const found = await findPortHolder({ transport: 'udp', port }, proc);
    if (found !== undefined)
      return `${found.name} (process ${found.pid}) holds that port: ${portRemedy(found.name)}`;
  } catch (error) {
    unread = ` (which could not be found out: ${inWords(error)})`;
  }
  return `another program${unread} holds that port for all addresses; find it with "ss -ulpn", and stop it or bind it to its own address`;
}

/** What to do about a program that holds port 67, as the end of a sentence. @param name as `PortHolder` has it. */
export function portRemedy(name: string): string {
  return REMEDIES[name] ?? 'stop it, or bind it to its own address';
}

/** A program that has a socket. */
export interface PortHolder {
  readonly pid: number;
  /** The kernel's word for it (proc(5), comm). */
  readonly name: string;
}

/** proc(5), `net/tcp`: a socket that waits for connections. */
const LISTENS = '0A';

/** A port that somebody has. */
export interface HeldPort {
  readonly transport: 'tcp' | 'udp';
  readonly port: number;
  /** IP address; a socket for all addresses counts as well. Undefined, or one that stands for all: at whatever address. */
  readonly address?: string | undefined;
}

/**
 * Whose socket a port is; of TCP one that listens. Undefined where nobody's is found, or it is another user's and this
 * process may not look.
 *
 * @throws what the system said where its tables cannot be read.
 */
export async function findPortHolder(
  { transport, port, address }: HeldPort,
  proc = '/proc',
): Promise<PortHolder | undefined> {
  const inodes = new Set<string>();
  const wanted = address === undefined ? undefined : spellings(address);
  for (const table of [transport, `${transport}6`]) {
    // A kernel without IPv6 has no second table.
    const text = (await readIfThere(join(proc, 'net', table)))?.toString('utf8') ?? '';
    for (const line of text.split('\n').slice(1)) {
      // proc(5): local address and port in hex, …, state in the fourth field, …, inode in the tenth.
      const fields = line.trim().split(/\s+/);
      if (transport === 'tcp' && fields[3] !== LISTENS) continue;
      const [at = '', held = ''] = fields[1]?.split(':') ?? [];
      if (Number.parseInt(held, 16) !== port || (wanted && !wanted.has(at))) continue;
      if (fields[9]) inodes.add(fields[9]);
    }
  }
  if (inodes.size === 0) return undefined;
  for (const entry of await readdir(proc)) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const name = await unlessHidden(() => nameOfHolder(join(proc, entry), inodes));
    if (name !== undefined) return { pid, name };
  }
  return undefined;
}

const ANY4 = '0'.repeat(8);
const ANY6 = '0'.repeat(32);

/** How the kernel's tables spell an address, and those that stand for it: words of 32 bits, of which the low byte is first. */
function spellings(address: string): ReadonlySet<string> | undefined {
  const { family, bits } = decodeIpAddress(address);
  if (bits === 0n) return undefined;
  const bytes = Buffer.from(bits.toString(16).padStart(family === 4 ? 8 : 32, '0'), 'hex').swap32();
  const text = bytes.toString('hex').toUpperCase();
  // A socket of IPv6 may be bound to an address of IPv4 (::ffff:10.0.0.1).
  return new Set(family === 4 ? [text, `${'0'.repeat(16)}FFFF0000${text}`, ANY4, ANY6] : [text, ANY6]);
}

/** The name of a process that has one of these sockets. */
async function nameOfHolder(process: string, inodes: ReadonlySet<string>): Promise<string | undefined> {
  for (const fd of await readdir(join(process, 'fd'))) {
    const target = await unlessHidden(() => readlink(join(process, 'fd', fd)));
    const inode = /^socket:\[(\d+)\]$/.exec(target ?? '')?.[1];
    if (inode !== undefined && inodes.has(inode))
      return (await readFile(join(process, 'comm'), 'utf8')).trim();
  }
  return undefined;
}

/** Processes end while they are looked at, and other users' are not shown: neither is a fault. */
async function unlessHidden<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (HIDDEN.has(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

const HIDDEN: ReadonlySet<string> = new Set(['ENOENT', 'ESRCH', 'ENOTDIR', 'EACCES', 'EPERM']);
