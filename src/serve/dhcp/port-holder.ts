import { readdir, readFile, readlink } from 'node:fs/promises';

/** What to do about programs that are found at port 67. */
const REMEDIES: Readonly<Record<string, string>> = {
  dnsmasq:
    'it takes the port for all addresses; write "bind-interfaces" (or "bind-dynamic") into its configuration, restart it, then start this',
  'kea-dhcp4': 'it shares its address with nobody; run one of the two on another machine',
};

/**
 * Who holds a UDP port, as the end of a sentence that also says what to do. Only root is told of other users'
 * programs; what cannot be found out is not said.
 */
export async function portHolder(port: number): Promise<string> {
  const found = await holderOf(port).catch(() => undefined);
  if (found === undefined)
    return 'another program holds that port for all addresses; find it with "ss -ulpn", and stop it or bind it to its own address';
  const remedy = REMEDIES[found.name] ?? 'stop it, or bind it to its own address';
  return `${found.name} (process ${found.pid}) holds that port: ${remedy}`;
}

async function holderOf(port: number): Promise<{ readonly pid: number; readonly name: string } | undefined> {
  const inodes = new Set<string>();
  for (const table of ['/proc/net/udp', '/proc/net/udp6']) {
    const text = await readFile(table, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      // proc(5): local address and port in hex, …, inode in the tenth field.
      const fields = line.trim().split(/\s+/);
      if (Number.parseInt(fields[1]?.split(':')[1] ?? '', 16) === port && fields[9]) inodes.add(fields[9]);
    }
  }
  if (inodes.size === 0) return undefined;
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      return { pid, name: (await readFile(`/proc/${pid}/comm`, 'utf8')).trim() };
    }
  }
  return undefined;
}
