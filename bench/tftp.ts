/**
 * Our TFTP server beside dnsmasq's, in one run on one machine: quote the ratios, not the rates.
 *
 *     node dist/bench/tftp.js [MEGABYTES]
 *
 * Needs dnsmasq and curl, and the right to bind port 69: dnsmasq knows no other. Everything listens on
 * loopback and lives in one temporary folder.
 */
import { type ChildProcess, execFile, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { decodeTftp, encodeTftp } from '../src/formats/net/tftp.ts';
import { Shares } from '../src/serve/shares.ts';
import { startTftpServer } from '../src/serve/tftp/tftp.ts';
import { diskSite } from '../test/serve/sites.ts';

const run = promisify(execFile);
/** What most PXE ROMs ask for: it fits an Ethernet frame. */
const BLKSIZE = 1428;
/** dnsmasq's own address, so that no other program's port 69 is in its way. */
const DNSMASQ = '127.0.0.69';

if (process.argv[2] === '--serve') await serve(process.argv[3] ?? '');
else await main(Number(process.argv[2] ?? 40));

interface Target {
  readonly address: string;
  readonly port: number;
}

/** The server half, in a process of its own, as dnsmasq is. */
async function serve(dir: string): Promise<void> {
  const file = join(dir, 'file');
  const server = await startTftpServer({
    site: diskSite([{ path: '/file', file, size: (await stat(file)).size, digest: 'file' }]),
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
  const dir = await mkdtemp(join(tmpdir(), 'bench-tftp-'));
  const children: ChildProcess[] = [];
  try {
    const size = megabytes * 1_000_000;
    await writeFile(join(dir, 'file'), randomBytes(size));
    const ours = fork(new URL(import.meta.url), ['--serve', dir]);
    children.push(ours);
    const [port] = (await once(ours, 'message')) as [number];
    const words = ['--keep-in-foreground', '--conf-file=/dev/null', '--pid-file=', '--user=root', '--port=0'];
    const tftp = [`--listen-address=${DNSMASQ}`, '--bind-interfaces', '--enable-tftp', `--tftp-root=${dir}`];
    children.push(spawn('dnsmasq', [...words, ...tftp, '--tftp-no-fail'], { stdio: 'ignore' }));
    const targets = { ours: { address: '127.0.0.1', port }, dnsmasq: { address: DNSMASQ, port: 69 } };
    await curl(targets.dnsmasq, ['--retry', '10', '--retry-all-errors', '--retry-delay', '1']);

    for (const [name, clients, fetch] of [
      ['bare socket', 1, lockStep],
      ['bare sockets', 8, lockStep],
      ['curl', 1, curl],
      ['curls', 8, curl],
    ] as const) {
      await compare(
        `${clients} ${name}, ${megabytes} MB each, blksize ${BLKSIZE}`,
        targets,
        async (target) => {
          const since = performance.now();
          await Promise.all(Array.from({ length: clients }, () => fetch(target)));
          return (clients * size) / 1000 / (performance.now() - since);
        },
      );
    }
    const rss = once(ours, 'message') as Promise<[number]>;
    ours.send('rss');
    console.log(`our server's resident memory at the end: ${Math.round((await rss)[0] / 1e6)} MB`);
  } finally {
    for (const child of children) if (child.exitCode === null) child.kill();
    await rm(dir, { recursive: true });
  }
}

/** Three runs of each, in turns, best of each: the machine's other work disturbs both alike. */
async function compare(
  name: string,
  targets: { readonly ours: Target; readonly dnsmasq: Target },
  measure: (target: Target) => Promise<number>,
): Promise<void> {
  let ours = 0;
  let dnsmasq = 0;
  for (let round = 0; round < 3; round++) {
    ours = Math.max(ours, await measure(targets.ours));
    dnsmasq = Math.max(dnsmasq, await measure(targets.dnsmasq));
  }
  const ratio = (ours / dnsmasq).toFixed(2);
  console.log(`${name}: ours ${Math.round(ours)} MB/s, dnsmasq ${Math.round(dnsmasq)} MB/s, ratio ${ratio}`);
}

/** One block, one ACK, as a boot ROM does it. Loopback loses nothing, so nothing is sent twice. */
async function lockStep({ address, port }: Target): Promise<void> {
  const socket = createSocket({
    type: 'udp4',
    lookup: (host, _options, callback) => callback(null, host, 4),
  });
  const ack = Buffer.from([0, 4, 0, 0]);
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (bytes, from) => {
      if (bytes[1] === 3) bytes.copy(ack, 2, 2, 4);
      else if (bytes[1] !== 6) {
        reject(new Error(JSON.stringify(decodeTftp(bytes))));
        return;
      }
      const last = bytes[1] === 3 && bytes.length < BLKSIZE + 4;
      socket.send(ack, from.port, address, () => last && resolve());
    });
    const options = new Map([['blksize', String(BLKSIZE)]]);
    socket.send(encodeTftp({ kind: 'rrq', filename: 'file', mode: 'octet', options }), port, address);
  }).finally(() => socket.close());
}

async function curl({ address, port }: Target, options: readonly string[] = []): Promise<void> {
  const url = `tftp://${address}:${port}/file`;
  await run('curl', ['-sf', '--tftp-blksize', String(BLKSIZE), '-o', '/dev/null', ...options, url]);
}
