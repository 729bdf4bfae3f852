import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { codeOf } from '../../errors/io.ts';
import { urlHost } from '../../formats/net/ip-address.ts';
import { DHCP_PORTS, DhcpSockets } from '../../serve/dhcp/dhcp-sockets.ts';
import { findPortHolder, type PortHolder, portRemedy } from '../../serve/dhcp/port-holder.ts';
import { ListenError } from '../../serve/listen.ts';
import { type Finding, Findings } from './finding.ts';

/** A port that "serve" would listen at. */
export interface WantedPort {
  /** `HTTP` */
  readonly what: string;
  readonly transport: 'tcp' | 'udp';
  /** Undefined: 67, which is heard by one socket and answered from others. */
  readonly address: string | undefined;
  readonly port: number;
  /** Addresses that port 67 is answered from. */
  readonly from?: readonly string[];
}

export interface PortFacts extends WantedPort {
  /** Why it could not be had: `EADDRINUSE`; undefined: it could. */
  readonly code: string | undefined;
  /** Undefined: nobody is found, or this process may not look. */
  readonly holder: PortHolder | undefined;
  /** Whether that is Bootseal. */
  readonly isOurs: boolean;
}

export function judgePorts(all: readonly PortFacts[]): readonly Finding[] {
  const findings = new Findings('ports');
  const free: string[] = [];
  const ours: string[] = [];
  for (const facts of all) {
    const where = placeOf(facts);
    if (facts.code === undefined) free.push(where);
    else if (facts.code === 'EADDRINUSE' && facts.isOurs) ours.push(where);
    else judgeTaken(findings, facts, where);
  }
  if (ours.length > 0) findings.ok(`Bootseal runs and has ${ours.join(', ')}`);
  if (free.length > 0) findings.ok(`free: ${free.join(', ')}`);
  if (all.length === 0) findings.ok('none was asked for');
  return findings.all;
}

function judgeTaken(
  findings: Findings,
  { what, port, transport, code, holder }: PortFacts,
  where: string,
): void {
  if (code === 'EADDRINUSE' && holder)
    findings.fault(
      'port-taken',
      `${where} is taken by ${holder.name} (process ${holder.pid})`,
      port === DHCP_PORTS.server || port === DHCP_PORTS.bootServer
        ? capital(`${portRemedy(holder.name)}.`)
        : `Stop ${holder.name}, or let one of the two listen at another ${what === 'TFTP' ? 'address' : 'port'}.`,
    );
  else if (code === 'EADDRINUSE')
    findings.fault(
      'port-taken',
      `${where} is taken, by whom only root is told`,
      `Find it as root with "ss -${transport === 'udp' ? 'u' : 't'}lpn"; where it is Bootseal, nothing is wrong.`,
    );
  else if (code === 'EACCES' || code === 'EPERM')
    findings.fault(
      'port-privileged',
      `${where}: whoever runs this may not listen below port 1024`,
      'Run "serve" with CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or let a socket unit of systemd open the ports.',
    );
  // An address that is not here is the interfaces' fault, and is told with them.
  else if (code === 'EADDRNOTAVAIL')
    findings.notChecked(`${where}: this machine has no such address`, 'Mend the address first.');
  else
    findings.fault(
      'no-port',
      `${where}: the system says ${code}`,
      'Look at the address and at the limits of this account.',
    );
}

function placeOf({ what, address, port }: WantedPort): string {
  return address === undefined ? `${what} port ${port}` : `${what} ${urlHost(address)}:${port}`;
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** Ports as "serve" is given them; false leaves a protocol out. */
export interface ServedPorts {
  readonly httpPort: number;
  readonly tftpPort: number | false;
  readonly nbdPort: number | false;
}

/**
 * What "serve" would listen at.
 *
 * @param addresses of HTTP, TFTP and NBD. @param from those of interfaces where DHCP is answered.
 */
export function wantedPorts(
  { httpPort, tftpPort, nbdPort }: ServedPorts,
  addresses: readonly string[],
  from: readonly string[],
): readonly WantedPort[] {
  const wanted: WantedPort[] = [];
  for (const address of addresses) {
    wanted.push({ what: 'HTTP', transport: 'tcp', address, port: httpPort });
    if (tftpPort !== false) wanted.push({ what: 'TFTP', transport: 'udp', address, port: tftpPort });
    if (nbdPort !== false) wanted.push({ what: 'NBD', transport: 'tcp', address, port: nbdPort });
  }
  if (from.length === 0) return wanted;
  const { server, bootServer } = DHCP_PORTS;
  wanted.push({ what: 'DHCP', transport: 'udp', address: undefined, port: server, from });
  for (const address of from) wanted.push({ what: 'DHCP', transport: 'udp', address, port: bootServer });
  return wanted;
}

/**
 * Takes each port for an instant, as "serve" would, and lets it go: the system alone knows what it would answer. An
 * ephemeral one (0) can be had always.
 *
 * @param bootseal processes that are known for ours.
 */
export async function portFacts(
  wanted: readonly WantedPort[],
  bootseal: ReadonlySet<number> = new Set(),
): Promise<readonly PortFacts[]> {
  const all: PortFacts[] = [];
  for (const one of wanted) {
    const code = await tried(one);
    const holder = code === 'EADDRINUSE' ? await holderOf(one) : undefined;
    const isOurs = holder !== undefined && (bootseal.has(holder.pid) || (await isBootseal(holder.pid)));
    all.push({ ...one, code, holder, isOurs });
  }
  return all;
}

async function tried({ transport, address, port, from = [] }: WantedPort): Promise<string | undefined> {
  if (port === 0) return undefined;
  try {
    if (address === undefined) await tryDhcp(from);
    else if (transport === 'tcp') await tryStream(address, port);
    else await tryDatagram(address, port);
    return undefined;
  } catch (error) {
    const code = error instanceof ListenError ? error.code : codeOf(error);
    if (code === undefined) throw error;
    return code;
  }
}

function tryStream(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}

function tryDatagram(address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4' });
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address, port, exclusive: true }, () => socket.close(() => resolve()));
  });
}

/** The very sockets of ProxyDHCP: who shares port 67 with them, and who does not, depends on how they are made. */
async function tryDhcp(from: readonly string[]): Promise<void> {
  const sockets = new DhcpSockets(DHCP_PORTS, [], () => {});
  const open = [await sockets.receiver(() => {})];
  try {
    for (const address of from) open.push(await sockets.sender(address));
  } finally {
    await Promise.all(open.map((socket) => sockets.end(socket)));
  }
}

async function holderOf(wanted: WantedPort): Promise<PortHolder | undefined> {
  try {
    return await findPortHolder(wanted);
  } catch (error) {
    // Nobody is named then; that the port is taken stays.
    if (codeOf(error) === undefined) throw error;
    return undefined;
  }
}

/** By its command line (proc(5)), which whoever starts a program may write: a mistake here hides one finding. */
async function isBootseal(pid: number): Promise<boolean> {
  const text = await readFile(join('/proc', String(pid), 'cmdline'), 'utf8').catch(() => '');
  const words = text.split('\0');
  const at = words.findIndex((word) => /(?:^|\/)bootseal$|\/cli\/main\.js$/.test(word));
  return at >= 0 && ['serve', 'demo'].includes(words[at + 1] ?? '');
}
