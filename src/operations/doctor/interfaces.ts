import { execFile } from 'node:child_process';
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { namesIfThere, readIfThere } from '../../files/read-if-there.ts';
import { dhcpInterface, type InterfaceTable } from '../../serve/dhcp/dhcp-interfaces.ts';
import { type Finding, Findings } from './finding.ts';

export interface InterfaceFacts {
  /** Those that are up and have an address, with their addresses (`os.networkInterfaces`). */
  readonly table: InterfaceTable;
  /** Every interface there is, with the kernel's word for how it is: `up`, `down`, `unknown`. */
  readonly links: ReadonlyMap<string, string>;
  /** Addresses that end unless somebody renews them (DHCP); undefined: nobody here can tell. */
  readonly dynamic: ReadonlySet<string> | undefined;
}

/** Where a server would listen: `--bind` and `--proxydhcp`. */
export interface Chosen {
  readonly bind: readonly string[];
  readonly proxyDhcp: readonly string[];
  /** Whether TFTP is served. */
  readonly tftp: boolean;
}

const EVERYWHERE: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

export function judgeInterfaces(
  { table, links, dynamic }: InterfaceFacts,
  { bind, proxyDhcp, tftp }: Chosen,
): readonly Finding[] {
  const findings = new Findings('interfaces');
  const own = ownAddresses(table);
  const lan = own.filter(({ internal }) => !internal);
  const there = lan.map(({ name, address }) => `${name} ${address}`).join(', ') || 'none';
  for (const name of proxyDhcp) judgeNamed(findings, name, links.get(name), table);
  for (const address of bind) {
    if (EVERYWHERE.has(address) || own.some((one) => one.address === address)) continue;
    findings.fault(
      'no-such-address',
      `--bind ${address}: this machine has no such address; it has ${there}`,
      'Name an address that "ip address" shows, or give this one to an interface.',
    );
  }
  const ipv4 = lan.filter(({ address }) => isIPv4(address));
  if (bind.length === 0 && proxyDhcp.length === 0)
    findings.warning(
      'none-chosen',
      `no address was chosen, so "serve" listens on 127.0.0.1, where no machine reaches it; there are ${there}`,
      'Name the address that faces the machines with --bind, or its interface with --proxydhcp.',
    );
  else if (bind.length > 0 && bind.every((address) => isLoopback(address)))
    findings.warning(
      'loopback',
      `--bind ${bind.join(', ')}: no other machine reaches that`,
      'Name an address that machines reach, unless a proxy on this machine stands before the server.',
    );
  if (tftp && bind.some((address) => EVERYWHERE.has(address)) && ipv4.length > 1)
    findings.warning(
      'wildcard',
      `--bind ${bind.join(', ')} on a machine with several addresses (${there}): TFTP may answer from another one than was asked`,
      'Name each address with a --bind of its own.',
    );
  const serving = servingAddresses(table, bind, proxyDhcp);
  for (const { name, address } of lan) {
    if (!serving.has(address) || dynamic?.has(address) !== true) continue;
    findings.warning(
      'dynamic-address',
      `${address} on ${name} came by DHCP and may be another one tomorrow`,
      'Give this machine a fixed address, or reserve this one for it in the DHCP server.',
    );
  }
  if (dynamic === undefined)
    findings.notChecked(
      'whether an address came by DHCP: "ip" is missing or does not say',
      'Install iproute2, or look whether the address is fixed.',
    );
  if (findings.isWell)
    findings.ok([...serving].map((address) => `${nameOf(own, address)}${address}`).join(', '));
  return findings.all;
}

function judgeNamed(findings: Findings, name: string, link: string | undefined, table: InterfaceTable): void {
  if (link === undefined)
    findings.fault(
      'no-interface',
      `there is no interface ${name}`,
      'Name one that "ip link" shows with --proxydhcp.',
    );
  else if (link === 'down' || link === 'lowerlayerdown')
    findings.fault(
      'interface-down',
      `the interface ${name} is down`,
      `Look at its cable, and switch it on: "ip link set ${name} up".`,
    );
  else if (dhcpInterface(name, table) === undefined)
    findings.fault(
      'no-ipv4',
      `the interface ${name} has no IPv4 address, so no machine could be told where to fetch`,
      `Give it a fixed one: "ip address add ADDRESS/LENGTH dev ${name}".`,
    );
}

/** Those of `--bind`, or of the interfaces; what stands for all of them is taken apart. */
export function servingAddresses(
  table: InterfaceTable,
  bind: readonly string[],
  proxyDhcp: readonly string[],
): ReadonlySet<string> {
  const all = ownAddresses(table).filter(({ internal }) => !internal);
  if (bind.some((address) => EVERYWHERE.has(address))) return new Set(all.map(({ address }) => address));
  if (bind.length > 0) return new Set(bind);
  return new Set(proxyDhcp.flatMap((name) => dhcpInterface(name, table)?.address ?? []));
}

interface OwnAddress {
  readonly name: string;
  readonly address: string;
  readonly internal: boolean;
}

export function ownAddresses(table: InterfaceTable): readonly OwnAddress[] {
  return Object.entries(table).flatMap(([name, addresses = []]) =>
    addresses.map(({ address, internal }) => ({ name, address, internal })),
  );
}

function nameOf(own: readonly OwnAddress[], address: string): string {
  const found = own.find((one) => one.address === address);
  return found ? `${found.name} ` : '';
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** @param sys where the kernel lists interfaces, sysfs(5). */
export async function interfaceFacts(sys = '/sys/class/net'): Promise<InterfaceFacts> {
  const links = new Map<string, string>();
  for (const name of await namesIfThere(sys)) {
    const state = await readIfThere(join(sys, name, 'operstate'));
    if (state !== undefined) links.set(name, state.toString('latin1').trim());
  }
  return { table: networkInterfaces(), links, dynamic: await dynamicAddresses() };
}

/** By iproute2, since the kernel says it over netlink alone. */
async function dynamicAddresses(): Promise<ReadonlySet<string> | undefined> {
  try {
    const { stdout } = await promisify(execFile)('ip', ['-j', 'address', 'show'], { cwd: '/' });
    const listed = JSON.parse(stdout) as readonly {
      readonly addr_info?: readonly { readonly local?: string; readonly dynamic?: boolean }[];
    }[];
    const all = listed.flatMap(({ addr_info = [] }) => addr_info);
    return new Set(all.flatMap(({ local, dynamic }) => (dynamic && local !== undefined ? [local] : [])));
  } catch {
    // Whatever it was: that is not known then, and is said.
    return undefined;
  }
}
