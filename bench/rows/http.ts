import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import { compare } from '../frame/compare.ts';
import { mostMemory } from '../frame/process.ts';
import { sealedSite, startProduct } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';
import { spreadOf } from '../frame/row.ts';

const run = promisify(execFile);
const MB = 1_000_000;

/** Large files, by curl. Ours verified before, and compares the identity of the file before each piece leaves. */
export const part: Part = {
  name: 'http',
  rows: [
    {
      name: 'http/one-client',
      job: 'HTTP, one client, a root image of 900 MB',
      against: 'nginx, sendfile',
      unit: 'times',
      goal: { atLeast: 1.5 },
      limit:
        'Bytes go from the kernel to a buffer and back, 1 MiB at a time, one read ahead. Tried without gain: pieces of 256 KiB, 512 KiB and 2 MiB.',
    },
    {
      name: 'http/eight-clients',
      job: 'HTTP, eight clients at once',
      against: 'nginx, sendfile',
      unit: 'times',
      goal: { atLeast: 1.6 },
    },
    {
      name: 'http/straggler',
      job: 'the slowest of 64 clients beside the fastest',
      unit: 'times',
      goal: { atMost: 1.3 },
    },
    { name: 'http/memory', job: 'memory of the server after that', unit: 'MB', goal: { atMost: 256 } },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const megabytes = quick ? 8 : 900;
    say(`seals ${megabytes} MB`);
    const site = await sealedSite(folder, megabytes);
    const [port = 0] = await freePorts(1);
    const nginx = await startNginx(join(folder, 'nginx'), [{ root: site.tree, port }]);
    const ours = await startProduct(['--tree', site.tree, '--anchors', site.anchors]);
    try {
      const urls = {
        ours: `${ours.url}/releases/${site.release}/${site.rootfs}`,
        nginx: `http://127.0.0.1:${port}/${site.rootfs}`,
      };
      for (const [row, clients] of [
        ['http/one-client', 1],
        ['http/eight-clients', 8],
      ] as const) {
        say(`${clients} client(s)`);
        const job = (url: string) => async () => Math.max(...(await download(url, clients)));
        const compared = await compare({ ours: job(urls.ours), nginx: job(urls.nginx) }, { rounds });
        const rate = (side: 'ours' | 'nginx') =>
          `${Math.round((clients * megabytes) / compared.seconds(side))} MB/s`;
        tell(row, { values: compared.faster('nginx'), ours: rate('ours'), peer: rate('nginx') });
      }
      say('64 clients');
      const ratios: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        const times = spreadOf(await download(urls.ours, 64));
        ratios.push(times.most / times.least);
      }
      tell('http/straggler', { values: ratios });
      tell('http/memory', { values: [await mostMemory(ours.pid)] });
    } finally {
      await ours.stop();
      await nginx.stop();
    }
  },
};

/** @returns how long each client needed, in seconds, all of them started at once. */
async function download(url: string, clients: number): Promise<number[]> {
  const one = async () => {
    const { stdout } = await run('curl', [
      '-sf',
      '-o',
      '/dev/null',
      '-w',
      '%{time_total} %{size_download}',
      url,
    ]);
    const [seconds, bytes] = stdout.split(' ').map(Number);
    if (!seconds || !bytes || bytes < MB) throw new Error(`curl ${url}: ${stdout}`);
    return seconds;
  };
  return Promise.all(Array.from({ length: clients }, one));
}
