import type { NetworkInterfaceInfo } from 'node:os';
import { UsageError } from '../../errors/usage.ts';
import { decodeIpAddress, prefixBits } from '../../formats/net/ip-address.ts';
import type { DhcpInterface } from './dhcp-types.ts';

/** What the system says of its interfaces, by name (`os.networkInterfaces`). */
export type InterfaceTable = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** 169.254.0.0/16, which is nobody's for long (RFC 3927). */
const LINK_LOCAL = '169.254.';

/** An interface with its first IPv4 address; undefined where it has none now. */
export function dhcpInterface(name: string, table: InterfaceTable): DhcpInterface | undefined {
  const own = table[name]?.find(
    ({ family, address }) => family === 'IPv4' && !address.startsWith(LINK_LOCAL),
  );
  if (own === undefined) return undefined;
  const { bits } = decodeIpAddress(own.address);
  const length = Number(own.cidr?.split('/')[1] ?? 32);
  return { name, address: own.address, network: { family: 4, bits: prefixBits(bits, 32, length), length } };
}

/** @throws UsageError where an interface is not there, has no IPv4 address, or is named twice. */
export function demandInterfaces(names: readonly string[], table: InterfaceTable): readonly DhcpInterface[] {
  return names.map((name, index) => {
    if (names.indexOf(name) !== index) throw new UsageError(`The interface ${name} is named twice.`);
    const found = dhcpInterface(name, table);
    if (found !== undefined) return found;
    if (table[name] !== undefined) {
      throw new UsageError(
        `The interface ${name} has no IPv4 address, so no machine could be told where to fetch; give it one ("ip address add").`,
      );
    }
    const there = Object.keys(table).filter((other) => dhcpInterface(other, table) !== undefined);
    throw new UsageError(
      `There is no interface ${name} that is up and has an address; those that have are ${there.join(', ') || 'none'}.`,
    );
  });
}
