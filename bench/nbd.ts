/**
 * Our NBD server beside nbdkit, in one run on one machine: quote the ratios, not the rates. Where the machine has
 * other work, nbdkit's many threads get more of it than our one; processor time for the same work tells more then.
 *
 *     node dist/bench/nbd.js [MEGABYTES]
 *
 * Needs nbdkit, nbdcopy (libnbd-bin) and fio. Everything listens on loopback and lives in one temporary folder.
 * nbdkit serves the bare file; ours also compares the file's identity before every write.
 */
import { type ChildProcess, execFile, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { identityOf } from '../src/files/file-identity.ts';
import { startNbdServer } from '../src/serve/nbd/nbd.ts';
import { FileExport, fileExports } from '../src/serve/nbd/nbd-file-export.ts';
import { Shares } from '../src/serve/shares.ts';

const run = promisify(execFile);

if (process.argv[2] === '--serve') await serve(process.argv[3] ?? '');
else await main(Number(process.argv[2] ?? 900));

/** The server half, in a process of its own, as nbdkit is. */
async function serve(path: string): Promise<void> {
  const identity = identityOf(await stat(path, { bigint: true }));
  const file = { path, name: 'file', size: Number(identity.size), sha256: '', identity };
  const server = await startNbdServer({
    exports: fileExports([new FileExport({ name: 'file', file })]),
    bind: '127.0.0.1',
    port: 0,
    shares: new Shares(),
    emit: () => {},
  });
  process.send?.(server.port);
  process.once('message', () => {
    process.send?.(process.memoryUsage().rss);
    process.disconnect();
    void server.close({ graceMs: 0 });
  });
}

async function main(megabytes: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-nbd-'));
  const children: ChildProcess[] = [];
  try {
    const path = join(dir, 'file');
    await fill(path, megabytes);
    const ours = fork(new URL(import.meta.url), ['--serve', path]);
    children.push(ours);
    const [ourPort] = (await once(ours, 'message')) as [number];
    const nbdkitPort = await freePort();
    const words = ['-f', '-r', '-i', '127.0.0.1', '-p', String(nbdkitPort), 'file', `file=${path}`];
    const nbdkit = spawn('nbdkit', words, { stdio: 'inherit' });
    children.push(nbdkit);
    await answers(nbdkitPort);

    const servers = {
      ours: { port: ourPort, pid: ours.pid },
      nbdkit: { port: nbdkitPort, pid: nbdkit.pid },
    };
    const copies: readonly (readonly [string, readonly string[]])[] = [
      ['nbdcopy, as it comes', []],
      ['nbdcopy, one connection', ['--connections=1']],
      ['nbdcopy, reads of 2 MiB', ['--request-size=2097152']],
    ];
    for (const [name, flags] of copies) {
      await compare(`${name}, ${megabytes} MB`, 'MB/s', servers, async (port) => {
        const since = performance.now();
        await run('nbdcopy', ['--no-extents', ...flags, url(port), 'null:']);
        return (megabytes * 1000) / (performance.now() - since);
      });
    }
    for (const [depth, clients] of [
      [1, 1],
      [16, 1],
      [64, 1],
      [16, 4],
    ] as const) {
      const name = `random reads of 4 KiB, ${depth} at a time, ${clients} client(s)`;
      await compare(name, 'reads/s', servers, (port) => randomReads(port, megabytes, depth, clients));
    }
    const rss = once(ours, 'message') as Promise<[number]>;
    ours.send('rss');
    console.log(`our server's resident memory at the end: ${Math.round((await rss)[0] / 1e6)} MB`);
  } finally {
    for (const child of children) if (child.exitCode === null) child.kill();
    await rm(dir, { recursive: true });
  }
}

/** Reads a second, for two seconds. */
async function randomReads(port: number, megabytes: number, depth: number, jobs: number): Promise<number> {
  const { stdout } = await run('fio', [
    ...['--name=x', '--ioengine=nbd', `--uri=${url(port)}`, '--rw=randread', '--bs=4k', '--thread'],
    ...[`--iodepth=${depth}`, `--numjobs=${jobs}`, '--group_reporting', '--time_based', '--runtime=2'],
    ...[`--size=${megabytes}M`, '--randrepeat=0', '--output-format=json'],
  ]);
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: { read: { iops: number } }[] };
  return report.jobs[0]?.read.iops ?? 0;
}

interface Server {
  readonly port: number;
  readonly pid: number | undefined;
}

/** One run of each to get warm, then three, in turns, best of each: the machine's other work disturbs both alike. */
async function compare(
  name: string,
  unit: string,
  servers: { readonly ours: Server; readonly nbdkit: Server },
  measure: (port: number) => Promise<number>,
): Promise<void> {
  const best = { ours: 0, nbdkit: 0 };
  const least = { ours: Number.POSITIVE_INFINITY, nbdkit: Number.POSITIVE_INFINITY };
  for (let round = 0; round < 4; round++) {
    for (const which of ['ours', 'nbdkit'] as const) {
      const { port, pid } = servers[which];
      const [since, busy] = [performance.now(), await processorTime(pid)];
      const rate = await measure(port);
      const used = (await processorTime(pid)) - busy;
      if (round === 0) continue;
      best[which] = Math.max(best[which], rate);
      least[which] = Math.min(least[which], used / (rate * (performance.now() - since)));
    }
  }
  const ratio = (best.ours / best.nbdkit).toFixed(2);
  const work = (least.nbdkit / least.ours).toFixed(2);
  const rates = `ours ${Math.round(best.ours)} ${unit}, nbdkit ${Math.round(best.nbdkit)} ${unit}`;
  console.log(`${name}: ${rates}, ratio ${ratio}; work for the same processor time, ratio ${work}`);
}

/** Milliseconds of processor time that a process has used (Linux: in ticks of 10 ms). */
async function processorTime(pid: number | undefined): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function url(port: number): string {
  return `nbd://127.0.0.1:${port}`;
}

/** Waits until a server on `port` answers: it listens a while after it was started. */
async function answers(port: number): Promise<void> {
  for (let time = 0; time < 50; time++) {
    const there = await run('nbdinfo', ['--size', url(port)]).catch(() => undefined);
    if (there !== undefined) return;
  }
  throw new Error('nbdkit did not come up');
}

async function fill(file: string, megabytes: number): Promise<void> {
  const out = createWriteStream(file);
  const block = randomBytes(1_000_000);
  for (let written = 0; written < megabytes; written++) {
    if (!out.write(block)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'finish');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
