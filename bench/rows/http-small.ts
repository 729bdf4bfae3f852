import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import { type Compared, compare, type Sample } from '../frame/compare.ts';
import { processorTime } from '../frame/process.ts';
import { bootseal, startProduct } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';

const run = promisify(execFile);

const AGAINST = 'nginx, static files';
const GOAL = { atLeast: 0.8 } as const;
/** Of the files; a goal that is met says nothing. */
const LIMIT =
  'An answer of Node’s own HTTP server with the same fields takes 17 µs of a processor here, which makes 0.86 of nginx. Of ours three quarters are the kernel’s writev, which also wakes the client on the other processor, once for each answer. Since the run of this table, answers of one turn of the event loop leave together, and wake it once: 44,000 to 48,000 requests a second in the place of 34,000 to 37,000, side by side. What is left beside Node’s own: fields, Host and file are looked at, and log, metrics and boots are told of beginning and end. Tried: one string in the place of two buffers, other sizes of V8’s young space: no difference.';
const RELEASE = 'small/2026.11.01';
/** What one machine says of itself at the entry. */
const MACHINE = '?mac=52-54-00-12-34-56&uuid=8e9f3b0a-1c2d-4e5f-8a9b-0c1d2e3f4a5b&arch=x86_64';

/**
 * Small answers over connections that stay open, by wrk. Ours looks at the file on disk for each (all that ask in one turn of
 * its loop share a look), and tells every request to log, metrics and boots; nginx does neither.
 */
export const part: Part = {
  name: 'http-small',
  packages: [{ packageName: 'wrk', needs: ['wrk'] }],
  rows: [
    {
      name: 'http-small/file-16',
      job: 'files of 4 KiB over HTTP, 16 connections that stay open',
      ...{ against: AGAINST, unit: 'times', goal: GOAL, limit: LIMIT },
    },
    {
      name: 'http-small/file-128',
      job: 'the same with 128 connections',
      ...{ against: AGAINST, unit: 'times', goal: GOAL, limit: LIMIT },
    },
    {
      name: 'http-small/script-16',
      job: 'sealed scripts of a release, 16 connections',
      ...{ against: AGAINST, unit: 'times', goal: GOAL, limit: LIMIT },
    },
    {
      name: 'http-small/script-128',
      job: 'the same with 128 connections',
      ...{ against: AGAINST, unit: 'times', goal: GOAL, limit: LIMIT },
    },
    {
      name: 'http-small/entry-16',
      job: 'a machine’s first script, decided by what it says of itself, 16 connections',
      ...{ against: 'nginx, the same script as a static file', unit: 'times' },
      limit:
        'Each is decided anew by what the machine says, and its boot is followed: begun, decided, ended. A third is the kernel’s writev, as for any small answer; a tenth is the boot, a tenth the garbage collector, and the decision with its query another tenth. Kept: what need not be waited for goes by the short way of small files, and a query is read once; that was 0.7 of the processor time of before, side by side on a machine with other work.',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const { tree, anchors } = await smallSite(folder);
    const [port = 0] = await freePorts(1);
    const more = 'access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on;';
    const nginx = await startNginx(join(folder, 'nginx'), [{ root: tree, port, more }]);
    const ours = await startProduct(['--tree', tree, '--anchors', anchors]);
    const seconds = quick ? 1 : 3;
    try {
      for (const [row, path, name, connections] of [
        ['http-small/file-16', `/releases/${RELEASE}/kernel`, 'kernel', 16],
        ['http-small/file-128', `/releases/${RELEASE}/kernel`, 'kernel', 128],
        ['http-small/script-16', `/releases/${RELEASE}/boot.ipxe`, 'boot.ipxe', 16],
        ['http-small/script-128', `/releases/${RELEASE}/boot.ipxe`, 'boot.ipxe', 128],
        ['http-small/entry-16', `/boot.ipxe${MACHINE}`, 'boot.ipxe', 16],
      ] as const) {
        say(`${name}, ${connections} connections`);
        const compared = await compare(
          {
            ours: () => request(`${ours.url}${path}`, connections, seconds, ours.pid),
            nginx: () => request(`http://127.0.0.1:${port}/${name}`, connections, seconds),
          },
          { rounds },
        );
        const micros = Math.round(compared.processor('ours') * 1e6);
        tell(row, {
          values: compared.faster('nginx'),
          ours: `${rate(compared, 'ours')}, ${micros} µs of a processor each`,
          peer: rate(compared, 'nginx'),
        });
      }
    } finally {
      await ours.stop();
      await nginx.stop();
    }
  },
};

/** A sealed release whose kernel is as large as a page. */
async function smallSite(folder: string): Promise<{ readonly tree: string; readonly anchors: string }> {
  const [keys, tree] = [join(folder, 'keys'), join(folder, 'tree')];
  await bootseal('init', keys, '--quiet');
  await mkdir(tree);
  await writeFile(join(tree, 'kernel'), randomBytes(4096));
  const words = ['--release', RELEASE, '--kernel', 'kernel', '--cmdline', 'quiet', '--quiet'];
  await bootseal('seal', tree, '--keys', keys, ...words);
  return { tree, anchors: join(keys, 'anchors') };
}

/** @param pid whose processor time counts. @returns seconds of a request, as one of so many connections has them. */
async function request(url: string, connections: number, seconds: number, pid?: number): Promise<Sample> {
  const before = pid === undefined ? 0 : await processorTime(pid);
  const { stdout } = await run('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, url]);
  const [, requests] = /(\d+) requests in/.exec(stdout) ?? [];
  const [, perSecond] = /Requests\/sec:\s+([\d.]+)/.exec(stdout) ?? [];
  if (!Number(requests) || stdout.includes('Non-2xx')) throw new Error(`wrk ${url}: ${stdout}`);
  const processor = pid === undefined ? 0 : (await processorTime(pid)) - before;
  return { seconds: 1 / Number(perSecond), processor: processor / Number(requests) };
}

function rate<Side extends string>(compared: Compared<Side>, side: Side): string {
  return `${Math.round(1 / compared.seconds(side))} requests/s`;
}
