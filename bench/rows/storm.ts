import { copyFile, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { serveByCli } from '../../lab/cli.ts';
import { LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { startNginx } from '../../lab/nginx.ts';
import { waitForOutput } from '../../lab/output.ts';
import { type RunningServer, running } from '../../lab/servers.ts';
import { compare } from '../frame/compare.ts';
import { bootseal, type SealedSite, sealedSite } from '../frame/product.ts';
import { type Part, spreadOf } from '../frame/row.ts';
import { machinesOf, storm } from '../storm/lan.ts';
import type { Arrival, Order } from '../storm/order.ts';

const LOADER = 'ipxe.efi';
const CHANNEL = 'stable';
/** Of 128 KiB: what a small system reads of its root until it has a prompt. */
const READS = 32;
const LOSS = 0.01;

/**
 * The morning of a school. The machines are emulated on the processors that the server runs on and verify everything
 * whoever serves; most of the time is theirs.
 */
export const part: Part = {
  name: 'storm',
  rows: [
    {
      name: 'storm/all',
      job: 'a storm: 500 machines from DHCP to their root over NBD, all verified, until the last has it',
      against: 'dnsmasq, nginx, nbdkit',
      unit: 'times',
      goal: { atLeast: 1 },
      limit:
        'One process of ours does what three of theirs do, on the processors that emulate the machines. For 200 machines it took 6.2 s of processors where the three took 1.4, before small files were sent out of memory; not measured again since.',
    },
    {
      name: 'storm/straggler',
      job: 'the last machine of the storm beside the median one',
      unit: 'times',
      goal: { atMost: 1.3 },
    },
    {
      name: 'storm/loss',
      job: 'the same storm where 1 % of the frames is lost, beside it without, all verified',
      unit: 'times',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const count = quick ? 8 : 500;
    const site = await makeState(folder, quick ? 2 : 32);
    const order: Order = {
      machines: machinesOf(count),
      anchors: site.anchors,
      network: 'firmware',
      loader: { path: LOADER, size: (await stat(site.loader)).size },
      reads: { name: site.exportName, size: site.size, count: READS },
    };
    const stragglers: number[] = [];
    const all =
      (name: string, serve: (lan: Lan) => Promise<readonly RunningServer[]>, loss = 0) =>
      async () => {
        say(`${count} machines, served by ${name}`);
        const arrivals = await storm(order, serve, loss);
        const times = spreadOf(verified(arrivals));
        if (name === 'bootseal' && loss === 0) stragglers.push(times.most / times.median);
        return times.most / 1000;
      };
    const ours = (lan: Lan) => startOurs(lan, site);
    const sides = {
      ours: all('bootseal', ours),
      theirs: all('dnsmasq, nginx and nbdkit', (lan) => startTheirs(lan, site, folder)),
    };
    const compared = await compare(sides, { rounds: Math.min(rounds, 3), warm: 0 });
    const shown = (side: 'ours' | 'theirs') => `${compared.seconds(side).toFixed(1)} s`;
    tell('storm/all', { values: compared.faster('theirs'), ours: shown('ours'), peer: shown('theirs') });
    tell('storm/straggler', { values: stragglers });
    const lossy = await all('bootseal', ours, LOSS)();
    tell('storm/loss', { values: [lossy / compared.seconds('ours')], ours: `${lossy.toFixed(1)} s` });
  },
};

/** When each arrived. @throws Error where one did not, or not verified: then no time of theirs means anything. */
function verified(arrivals: readonly Arrival[]): readonly number[] {
  const bad = arrivals.filter((arrival) => !arrival.verified);
  if (bad.length > 0)
    throw new Error(`${bad.length} of ${arrivals.length} did not arrive verified: ${bad[0]?.refusal}`);
  return arrivals.map(({ arrived }) => arrived);
}

interface StormSite extends SealedSite {
  readonly state: string;
  readonly loader: string;
  readonly exportName: string;
  /** Bytes of the root image. */
  readonly size: number;
}

async function makeState(folder: string, megabytes: number): Promise<StormSite> {
  const site = await sealedSite(folder, megabytes);
  const state = join(folder, 'state');
  const words = ['--anchors', site.anchors, '--channel', CHANNEL, '--state', state, '--quiet'];
  await bootseal('publish', site.tree, ...words);
  // Which loader it is makes no difference to whoever sends it.
  const loader = join(state, 'loaders', LOADER);
  await mkdir(join(state, 'loaders'));
  await copyFile('/usr/lib/ipxe/snponly.efi', loader);
  const { size } = await stat(join(site.tree, site.rootfs));
  return { ...site, state, loader, size, exportName: `${site.release}/airootfs` };
}

async function startOurs(lan: Lan, { state, anchors }: StormSite): Promise<readonly RunningServer[]> {
  const words = ['--state', state, '--anchors', anchors, '--channel', CHANNEL, '--proxydhcp', 'br0'];
  return [await serveByCli(lan, words)];
}

async function startTheirs(lan: Lan, site: StormSite, folder: string): Promise<readonly RunningServer[]> {
  const pid = join(lan.workFolder, 'bench.pid');
  const dnsmasq = lan.spawn('dnsmasq', [
    ...['--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-', '--user=root', '--port=0'],
    ...['--interface=br0', '--bind-interfaces', '--dhcp-range=10.77.0.0,proxy', `--pid-file=${pid}`],
    ...[`--pxe-service=x86-64_EFI,boot,${LOADER}`, `--dhcp-leasefile=${join(lan.workFolder, 'leases')}`],
    ...['--enable-tftp', `--tftp-root=${join(site.state, 'loaders')}`, '--tftp-max=1000'],
  ]);
  await waitForOutput(dnsmasq, 'stderr', /DHCP, proxy/);
  const place = join(folder, `nginx-${lan.name}`);
  await mkdir(place);
  await writeFile(join(place, 'empty'), '');
  const nginx = await startNginx(place, [{ root: join(site.state, 'www'), port: 8080 }], LAN_ADDRESS, lan);
  const image = join(site.tree, site.rootfs);
  const nbdkit = lan.spawn('nbdkit', [
    '-f',
    '-r',
    '-v',
    '-i',
    LAN_ADDRESS,
    '-p',
    '10809',
    'file',
    `file=${image}`,
  ]);
  await waitForOutput(nbdkit, 'stderr', /bound to IP address|listening/i);
  return [running(dnsmasq), nginx, running(nbdkit)];
}
