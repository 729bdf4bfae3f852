import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { serveByCli } from '../../lab/cli.ts';
import { run } from '../../lab/command.ts';
import { CARD } from '../../lab/host.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { createLossyHost } from '../../lab/lossy-host.ts';
import type { RunningServer } from '../../lab/servers.ts';
import { startDnsmasqTftp } from '../../lab/tftp-servers.ts';
import { compare } from '../frame/compare.ts';
import { sealedSite } from '../frame/product.ts';
import { type Part, spreadOf } from '../frame/row.ts';

const LOSS = 0.01;
/** Cables that the clients are behind. */
const HOSTS = 4;

/** Each client loses one datagram in a hundred either way, and has the whole file or has not arrived. */
export const part: Part = {
  name: 'tftp-loss',
  rows: [
    {
      name: 'tftp-loss/last',
      job: 'TFTP, 200 clients (curl) fetch 1 MB at once, 1 % of the frames lost either way, until the last has it',
      against: 'dnsmasq',
      unit: 'times',
      goal: { atLeast: 1 },
    },
    {
      name: 'tftp-loss/median',
      job: 'the same, until half of them have it',
      against: 'dnsmasq',
      unit: 'times',
      goal: { atLeast: 1 },
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const clients = quick ? 8 : 200;
    const site = await sealedSite(folder, 1);
    const digest = createHash('sha256')
      .update(await readFile(join(site.tree, site.rootfs)))
      .digest('hex');
    const medians = { ours: [] as number[], dnsmasq: [] as number[] };
    const side =
      (name: 'ours' | 'dnsmasq', path: string, serve: (lan: Lan) => Promise<RunningServer>) => async () => {
        say(`${clients} clients, served by ${name}`);
        const { most, median } = spreadOf(await arrivals(clients, serve, path, digest));
        medians[name].push(median);
        return most;
      };
    const words = ['--tree', site.tree, '--anchors', site.anchors, '--bind', LAN_ADDRESS, '--no-nbd'];
    const sides = {
      ours: side('ours', `releases/${site.release}/${site.rootfs}`, (lan) => serveByCli(lan, words)),
      dnsmasq: side('dnsmasq', site.rootfs, (lan) => startDnsmasqTftp(site.tree, LAN_ADDRESS, lan)),
    };
    const compared = await compare(sides, { rounds: Math.min(rounds, 3), warm: 0 });
    const shown = (value: number) => `${value.toFixed(1)} s`;
    tell('tftp-loss/last', {
      values: compared.faster('dnsmasq'),
      ours: shown(compared.seconds('ours')),
      peer: shown(compared.seconds('dnsmasq')),
    });
    tell('tftp-loss/median', {
      values: medians.ours.map((median, round) => (medians.dnsmasq[round] ?? 0) / median),
      ours: shown(spreadOf(medians.ours).median),
      peer: shown(spreadOf(medians.dnsmasq).median),
    });
  },
};

/** When each had the file, in seconds since all began. @throws Error where one has not, or has other bytes. */
async function arrivals(
  clients: number,
  serve: (lan: Lan) => Promise<RunningServer>,
  path: string,
  digest: string,
): Promise<readonly number[]> {
  const lan = await createLan();
  const hosts: Lan[] = [];
  try {
    for (let at = 0; at < HOSTS; at += 1) {
      const host = await createLossyHost(lan, LOSS);
      hosts.push(host);
      await run('ip', ['-n', host.name, 'addr', 'add', `10.77.0.${10 + at}/24`, 'dev', CARD]);
    }
    await serve(lan);
    const script = `for client in $(seq ${clients / HOSTS}); do (
      digest=$(curl -sS -m 600 --tftp-blksize 1428 tftp://${LAN_ADDRESS}/${path} | sha256sum)
      echo "$(date +%s.%N) $digest"
    ) & done; wait`;
    const begun = Date.now() / 1000;
    const told = await Promise.all(hosts.map((host) => host.execute('sh', ['-c', script])));
    const lines = told.flatMap(({ stdout }) => stdout.trim().split('\n'));
    const arrived = lines
      .filter((line) => line.includes(digest))
      .map((line) => Number.parseFloat(line) - begun);
    if (arrived.length === clients) return arrived;
    throw new Error(`${arrived.length} of ${clients} arrived: ${told.map(({ stderr }) => stderr).join('')}`);
  } finally {
    for (const host of hosts) await host.close();
    await lan.close();
  }
}
