import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import type { Growth } from '../frame/parts.ts';
import { sealedSite, startProduct } from '../frame/product.ts';

const CLIENTS = [1, 5, 20, 100, 500];
const MEGABYTES = 20;

/** All download one file at once; what counts is when the last of them has it. */
export const growth: Growth = {
  name: 'clients',
  async run({ folder, quick, say }) {
    const site = await sealedSite(folder, quick ? 1 : MEGABYTES);
    const [port = 0] = await freePorts(1);
    const place = join(folder, 'nginx');
    await mkdir(place);
    const nginx = await startNginx(place, [{ root: site.tree, port }]);
    const ours = await startProduct(['--tree', site.tree, '--anchors', site.anchors]);
    const urls = {
      bootseal: `${ours.url}/releases/${site.release}/${site.rootfs}`,
      nginx: `http://127.0.0.1:${port}/${site.rootfs}`,
    };
    try {
      const series = [];
      for (const [name, url] of Object.entries(urls)) {
        const points: [number, number][] = [];
        for (const clients of quick ? [1, 2] : CLIENTS) {
          say(`${clients} clients of ${name}`);
          points.push([clients, await lastOf(url, clients)]);
        }
        series.push({ name, points });
      }
      return {
        name: 'clients',
        title: `HTTP: until the last client has its ${MEGABYTES} MB`,
        across: 'clients at once',
        up: 'seconds',
        series,
      };
    } finally {
      await ours.stop();
      await nginx.stop();
    }
  },
};

/** Seconds until the last has all of it; the clients are a process of their own. */
async function lastOf(url: string, clients: number): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ['--clients', url, String(clients)]);
  const told = once(child, 'message') as Promise<[number]>;
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the clients ended with ${code}`);
  });
  ended.catch(() => {});
  const [seconds] = await Promise.race([told, ended]);
  return seconds;
}

async function download(url: string, clients: number): Promise<void> {
  const begun = performance.now();
  const one = () =>
    new Promise<void>((resolve, reject) => {
      get(url, { agent: false }, (answer) => {
        if (answer.statusCode !== 200) reject(new Error(`${url}: ${answer.statusCode}`));
        answer.resume();
        answer.once('end', resolve);
      }).once('error', reject);
    });
  await Promise.all(Array.from({ length: clients }, one));
  process.send?.((performance.now() - begun) / 1000);
}

const [mode, url = '', clients = '1'] = process.argv.slice(2);
if (mode === '--clients') await download(url, Number(clients));
