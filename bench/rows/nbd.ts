import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { run } from '../../lab/command.ts';
import { freePorts } from '../../lab/nginx.ts';
import { type RunningServer, running } from '../../lab/servers.ts';
import { compare, seconds, type Work } from '../frame/compare.ts';
import { sealedSite, startProduct } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';

/** Of `fio`, for each go. */
const SECONDS = 2;
const BLOCK = 4096;

/**
 * A root image over NBD, asked by nbdcopy and fio. nbdkit serves the bare file; ours is a release that was verified, whose
 * blocks were held against its hash tree when they were first read, and whose identity is compared before every write.
 */
export const part: Part = {
  name: 'nbd',
  packages: [{ packageName: 'fio', needs: ['fio'] }],
  rows: [
    {
      name: 'nbd/copy',
      job: 'NBD, nbdcopy as it comes (four connections), a root image of 900 MB',
      against: 'nbdkit, file',
      unit: 'times',
      goal: { atLeast: 1 },
      limit:
        'four fifths of our processor time are pread and writev; one thread does all of it, where nbdkit has sixteen for each connection. Several processes behind one port were tried and gave 0.88 where one gave 0.72; they would have to share pins, fairness and events.',
    },
    {
      name: 'nbd/one-connection',
      job: 'NBD, nbdcopy by one connection, the same image',
      against: 'nbdkit, file',
      unit: 'times',
    },
    {
      name: 'nbd/one-read',
      job: 'NBD, random 4 KiB, one read at a time',
      against: 'nbdkit, file',
      unit: 'times',
      goal: { atLeast: 1 },
      limit:
        'most of the time is two wake-ups from one processor to another, by the socket; the event loop asks epoll, reads, reads the file, compares its identity and writes: five calls where nbdkit has three. On one processor (both sides held to it) ours takes 20 µs and nbdkit 16 to 19. Waiting by asking again and again was tried: it took twice the processor time and gained nothing on a machine with other work.',
    },
    ...(
      [
        ['nbd/16-deep', 'random 4 KiB, 16 at a time'],
        ['nbd/64-deep', 'random 4 KiB, 64 at a time'],
        ['nbd/four-clients', 'random 4 KiB, four clients with 16 at a time each'],
      ] as const
    ).map(([name, what]) => ({
      name,
      job: `NBD, ${what}`,
      against: 'nbdkit, file',
      unit: 'times' as const,
      goal: { atLeast: 1.1 },
    })),
    {
      name: 'nbd/first-read',
      job: 'NBD, nbdcopy of that image when nobody has read it yet: each block is held against the hash tree',
      against: 'the same once it was read',
      unit: 'times',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const megabytes = quick ? 8 : 900;
    say(`seals ${megabytes} MB`);
    const site = await sealedSite(folder, megabytes);
    const image = join(site.tree, site.rootfs);
    const serve = () => startProduct(['--tree', site.tree, '--anchors', site.anchors]);
    const copy = (uri: string, ...words: readonly string[]): Work => {
      return () => seconds(() => run('nbdcopy', ['--no-extents', ...words, uri, 'null:']));
    };
    const rate = (taken: number) => `${Math.round(megabytes / taken)} MB/s`;

    say('first reads');
    const [first, again]: number[][] = [[], []];
    for (let round = 0; round < Math.min(rounds, 3); round += 1) {
      const fresh = await serve();
      try {
        first?.push((await copy(uriOf(fresh.nbdPort))(round)) as number);
        again?.push((await copy(uriOf(fresh.nbdPort))(round)) as number);
      } finally {
        await fresh.stop();
      }
    }
    tell('nbd/first-read', {
      values: (first ?? []).map((taken, at) => (again?.[at] ?? Number.NaN) / taken),
      ours: rate(Math.min(...(first ?? []))),
      peer: rate(Math.min(...(again ?? []))),
    });

    const ours = await serve();
    const [port = 0] = await freePorts(1);
    const nbdkit = await startNbdkit(image, port);
    const uris = { ours: uriOf(ours.nbdPort), nbdkit: uriOf(port) };
    try {
      for (const [row, words] of [
        ['nbd/copy', []],
        ['nbd/one-connection', ['--connections=1']],
      ] as const) {
        say(row);
        const sides = { ours: copy(uris.ours, ...words), nbdkit: copy(uris.nbdkit, ...words) };
        const compared = await compare(sides, { rounds });
        const side = (name: 'ours' | 'nbdkit') => rate(compared.seconds(name));
        tell(row, { values: compared.faster('nbdkit'), ours: side('ours'), peer: side('nbdkit') });
      }
      for (const [row, depth, clients] of [
        ['nbd/one-read', 1, 1],
        ['nbd/16-deep', 16, 1],
        ['nbd/64-deep', 64, 1],
        ['nbd/four-clients', 16, 4],
      ] as const) {
        say(row);
        const reads = (uri: string) => async () =>
          1 / (await readsASecond(uri, megabytes, depth, clients, quick));
        const compared = await compare({ ours: reads(uris.ours), nbdkit: reads(uris.nbdkit) }, { rounds });
        const side = (name: 'ours' | 'nbdkit') => `${Math.round(1 / compared.seconds(name))}/s`;
        tell(row, { values: compared.faster('nbdkit'), ours: side('ours'), peer: side('nbdkit') });
      }
    } finally {
      await nbdkit.stop();
      await ours.stop();
    }
  },
};

function uriOf(port: number): string {
  return `nbd://127.0.0.1:${port}`;
}

async function startNbdkit(path: string, port: number): Promise<RunningServer> {
  const words = ['-f', '-r', '-i', '127.0.0.1', '-p', String(port), 'file', `file=${path}`];
  const child = spawn('nbdkit', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  await once(child, 'spawn');
  // It listens a while after it was started.
  for (;;) {
    if (child.exitCode !== null) throw new Error(`nbdkit ended with ${child.exitCode}`);
    const answer = await run('nbdinfo', ['--size', uriOf(port)]).catch(() => undefined);
    if (answer !== undefined) return running(child);
  }
}

/** Random reads of 4 KiB that fio got in a second. */
async function readsASecond(
  uri: string,
  megabytes: number,
  depth: number,
  clients: number,
  quick: boolean,
): Promise<number> {
  const { stdout } = await run('fio', [
    ...['--name=reads', '--ioengine=nbd', `--uri=${uri}`, '--rw=randread', `--bs=${BLOCK}`, '--thread'],
    ...[`--iodepth=${depth}`, `--numjobs=${clients}`, '--group_reporting', '--time_based'],
    ...[`--runtime=${quick ? 1 : SECONDS}`, `--size=${Math.floor((megabytes * 1e6) / BLOCK) * BLOCK}`],
    ...['--randrepeat=0', '--output-format=json'],
  ]);
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: { read: { iops: number } }[] };
  const rate = report.jobs[0]?.read.iops ?? 0;
  if (rate === 0) throw new Error(`fio read nothing of ${uri}`);
  return rate;
}
