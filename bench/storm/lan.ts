import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { run } from '../../lab/command.ts';
import { createHost } from '../../lab/host.ts';
import { createLan, type Lan } from '../../lab/lan.ts';
import { createLossyHost } from '../../lab/lossy-host.ts';
import { waitForOutput } from '../../lab/output.ts';
import type { RunningServer } from '../../lab/servers.ts';
import type { Arrival, Machine, Order } from './order.ts';

const MACHINES = fileURLToPath(new URL('./machines.js', import.meta.url));
/** Programs that machines are shared out to: more than processors, so that none waits for one of its own. */
const HOSTS = availableParallelism() * 2;

export function machinesOf(count: number): readonly Machine[] {
  return Array.from({ length: count }, (_, index) => {
    const [high, low] = [Math.floor(index / 250), (index % 250) + 1];
    const mac = `52:54:02:00${Buffer.of(high, low).toString('hex').replace(/../g, ':$&')}`;
    return { mac, address: `10.77.${16 + high}.${low}` };
  });
}

/**
 * Switches all machines on at once, on a LAN of their own.
 *
 * @param serve starts what they boot from, inside the LAN.
 * @param loss of the frames either way: 0.01 is one in a hundred.
 */
export async function storm(
  order: Order,
  serve: (lan: Lan) => Promise<readonly RunningServer[]>,
  loss = 0,
): Promise<readonly Arrival[]> {
  const lan = await createLan();
  const hosts: Lan[] = [];
  let servers: readonly RunningServer[] = [];
  try {
    // Machines have addresses of a larger network than the lab's: each is one for the server.
    await run('ip', ['-n', lan.name, 'route', 'add', '10.77.0.0/16', 'dev', 'br0']);
    servers = await serve(lan);
    while (hosts.length < HOSTS) hosts.push(await (loss > 0 ? createLossyHost(lan, loss) : createHost(lan)));
    const arrivals = await Promise.all(
      hosts.map(async (host, at) => {
        const machines = order.machines.filter((_machine, index) => index % HOSTS === at);
        const child = host.spawn(process.execPath, [MACHINES, JSON.stringify({ ...order, machines })]);
        const [, list = '[]'] = await waitForOutput(child, 'stdout', /arrivals (.*)\n/);
        return JSON.parse(list) as Arrival[];
      }),
    );
    return arrivals.flat();
  } finally {
    for (const server of servers) await server.stop();
    for (const host of hosts) await host.close();
    await lan.close();
  }
}
