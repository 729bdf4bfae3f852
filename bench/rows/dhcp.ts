import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { serveByCli } from '../../lab/cli.ts';
import { createHost } from '../../lab/host.ts';
import { createLan, type Lan } from '../../lab/lan.ts';
import { waitForOutput } from '../../lab/output.ts';
import { type RunningServer, running } from '../../lab/servers.ts';
import { FLOOD, MACHINES, macOf } from '../dhcp/machine.ts';
import { compare } from '../frame/compare.ts';
import { bootseal, sealedSite } from '../frame/product.ts';
import { type Part, spreadOf } from '../frame/row.ts';

const CLIENT = fileURLToPath(new URL('../dhcp/client.js', import.meta.url));
const LOADER = 'ipxe.efi';
const CHANNEL = 'stable';
const GROUP = 250;
/** Longer than the time in which one machine is answered only so often. */
const BETWEEN_ROUNDS_MS = 1_500;

/** How long a machine waits until a ProxyDHCP server has told it what to load. One question at a time, of any machine. */
export const part: Part = {
  name: 'dhcp',
  rows: [
    {
      name: 'dhcp/quiet',
      job: 'DHCP, 10,000 machines written down: 99 of 100 questions are answered within',
      against: 'dnsmasq, which knows none',
      unit: 'ms',
      goal: { atMost: 50 },
    },
    {
      name: 'dhcp/quiet-median',
      job: 'the same, the median beside the other’s',
      against: 'dnsmasq, which knows none',
      unit: 'times',
    },
    {
      name: 'dhcp/flooded',
      job: `the same while ${FLOOD.toLocaleString('en')} machines a second ask that do not exist`,
      against: 'dnsmasq, which knows none',
      unit: 'ms',
      goal: { atMost: 50 },
    },
    {
      name: 'dhcp/flooded-median',
      job: 'the same, the median beside the other’s',
      against: 'dnsmasq, which knows none',
      unit: 'times',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    say(`${MACHINES} machines`);
    const { state, anchors } = await makeState(folder);
    const lan = await createLan();
    const hosts: Lan[] = [];
    try {
      const client = await createHost(lan);
      hosts.push(client);
      const stranger = await createHost(lan);
      hosts.push(stranger);
      const questions = quick ? 10 : 150;
      const servers = {
        ours: () =>
          serveByCli(lan, [
            ...['--state', state, '--anchors', anchors, '--channel', CHANNEL, '--proxydhcp', 'br0'],
            '--no-nbd',
          ]),
        dnsmasq: () => startDnsmasq(lan),
      };
      for (const row of ['dhcp/quiet', 'dhcp/flooded']) {
        say(row);
        const all = { ours: [] as number[], dnsmasq: [] as number[] };
        const within: number[] = [];
        const job = (name: 'ours' | 'dnsmasq') => async () => {
          const server = await servers[name]();
          const flood = row === 'dhcp/flooded' ? await startFlood(stranger) : undefined;
          const waits = await ask(client, questions);
          await flood?.stop();
          await server.stop();
          await pause(BETWEEN_ROUNDS_MS);
          all[name].push(...waits);
          if (name === 'ours') within.push(at(waits, 0.99));
          return spreadOf(waits).median / 1000;
        };
        const sides = { ours: job('ours'), dnsmasq: job('dnsmasq') };
        const compared = await compare(sides, { rounds, warm: 0 });
        const shown = (side: 'ours' | 'dnsmasq') => {
          const { median, most } = spreadOf(all[side]);
          return `median ${median.toFixed(2)} ms, 99 % within ${at(all[side], 0.99).toFixed(1)} ms, all within ${most.toFixed(1)} ms`;
        };
        tell(row, { values: within, ours: shown('ours'), peer: shown('dnsmasq') });
        tell(`${row}-median`, { values: compared.faster('dnsmasq') });
      }
    } finally {
      for (const host of hosts) await host.close();
      await lan.close();
    }
  },
};

function at(values: readonly number[], part: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

/** A release in a channel, every machine written down in groups as large as a building's, and nobody else told anything. */
async function makeState(folder: string) {
  const { keys, tree, anchors } = await sealedSite(folder, 1);
  const state = join(folder, 'state');
  const common = ['--anchors', anchors, '--state', state, '--channel', CHANNEL, '--quiet'];
  await bootseal('publish', tree, ...common);
  await mkdir(join(state, 'machines'), { recursive: true });
  await mkdir(join(state, 'loaders'), { recursive: true });
  await copyFile('/usr/lib/ipxe/snponly.efi', join(state, 'loaders', LOADER));
  const machines = Array.from(
    { length: MACHINES },
    (_, number) =>
      `[[machine]]\nname = "pc-${number}"\nmac = "${macOf(number)}"\nlabels = "house-${Math.floor(number / GROUP)}"\n`,
  );
  const groups = Array.from(
    { length: MACHINES / GROUP },
    (_, number) =>
      `[[group]]\nname = "house-${number}"\nlabels = "house-${number}"\ngets = { channel = "${CHANNEL}" }\n`,
  );
  const unknown = '[unknown]\ngets = { boot = "refuse" }\n';
  await writeFile(join(state, 'machines/all.toml'), [...machines, ...groups, unknown].join('\n'));
  await bootseal('machines', 'apply', ...common, '--script-keys', keys);
  return { state, anchors };
}

async function startDnsmasq(lan: Lan): Promise<RunningServer> {
  const child = lan.spawn('dnsmasq', [
    ...['--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-', '--user=root', '--port=0'],
    ...['--interface=br0', '--bind-interfaces', '--dhcp-range=10.77.0.0,proxy'],
    ...[`--pxe-service=x86-64_EFI,boot,${LOADER}`, `--pid-file=${join(lan.workFolder, 'bench.pid')}`],
    `--dhcp-leasefile=${join(lan.workFolder, 'bench.leases')}`,
  ]);
  await waitForOutput(child, 'stderr', /DHCP, proxy/);
  return running(child);
}

async function startFlood(host: Lan): Promise<RunningServer> {
  const child = host.spawn(process.execPath, [CLIENT, 'flood']);
  await waitForOutput(child, 'stdout', /flooding/);
  return running(child);
}

/** @returns how long each question waited, in milliseconds. */
async function ask(client: Lan, questions: number): Promise<number[]> {
  const child = client.spawn(process.execPath, [CLIENT, 'ask', String(questions)]);
  const [, list = '[]'] = await waitForOutput(child, 'stdout', /waits (.*)\n/);
  return JSON.parse(list) as number[];
}
