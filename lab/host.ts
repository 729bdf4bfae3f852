import { run } from './command.ts';
import { createLan, type Lan } from './lan.ts';

/** The card of a machine that `createHost` made. */
export const CARD = 'net0';

let hosts = 0;

/**
 * Another machine on a LAN: a namespace of its own with one card on the LAN's bridge. Close it before the LAN.
 *
 * @param address `10.77.0.2/24`; undefined: none yet, as a machine that asks for one.
 */
export async function createHost(lan: Lan, address?: string): Promise<Lan> {
  const host = await createLan();
  const port = `host${++hosts}`;
  const steps = [
    ['-n', host.name, 'link', 'delete', 'br0'],
    ['-n', lan.name, 'link', 'add', port, 'type', 'veth', 'peer', 'name', CARD, 'netns', host.name],
    ['-n', lan.name, 'link', 'set', port, 'master', 'br0', 'up'],
    ['-n', host.name, 'link', 'set', CARD, 'up'],
    // Without an address it still sends to all, by this card, from 0.0.0.0.
    address === undefined
      ? ['-n', host.name, 'route', 'add', '255.255.255.255/32', 'dev', CARD]
      : ['-n', host.name, 'addr', 'add', address, 'dev', CARD],
  ];
  try {
    for (const step of steps) await run('ip', step);
  } catch (error) {
    await host.close();
    throw error;
  }
  return host;
}
