/**
 * Our HTTP server beside nginx, in one run on one machine: quote the ratios, not the rates.
 *
 *     node dist/bench/http.js [MEGABYTES]
 *
 * Needs nginx (nginx-light), curl and wrk. Everything listens on loopback and lives in one temporary folder.
 */
import { type ChildProcess, execFile, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startHttpServer } from '../src/serve/http/http.ts';
import { Shares } from '../src/serve/shares.ts';
import { diskSite } from '../test/serve/sites.ts';

const run = promisify(execFile);
const SMALL = 4096;

if (process.argv[2] === '--serve') await serve(process.argv[3] ?? '');
else await main(Number(process.argv[2] ?? 900));

/** The server half, in a process of its own, as nginx is. */
async function serve(dir: string): Promise<void> {
  const files = await Promise.all(
    ['big', 'small'].map(async (name) => ({
      path: `/${name}`,
      file: join(dir, name),
      size: (await stat(join(dir, name))).size,
      digest: name,
    })),
  );
  const server = await startHttpServer({
    site: diskSite(files),
    pages: new Map(),
    bind: '127.0.0.1',
    port: 0,
    shares: new Shares(),
    emit: () => {},
  });
  process.send?.(server.port);
  process.once('message', () => {
    const { rss } = process.memoryUsage();
    process.send?.(rss);
    process.disconnect();
    void server.close({ graceMs: 0 });
  });
}

async function main(megabytes: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'bench-http-'));
  const children: ChildProcess[] = [];
  try {
    await fill(join(dir, 'big'), megabytes);
    await writeFile(join(dir, 'small'), randomBytes(SMALL));

    const ours = fork(new URL(import.meta.url), ['--serve', dir]);
    children.push(ours);
    const [ourPort] = (await once(ours, 'message')) as [number];
    const nginxPort = await freePort();
    await writeFile(join(dir, 'nginx.conf'), nginxConfig(dir, nginxPort));
    const nginx = spawn('nginx', ['-c', join(dir, 'nginx.conf'), '-p', dir], { stdio: 'inherit' });
    children.push(nginx);
    await curl(nginxPort, 'small', ['--retry', '20', '--retry-connrefused', '--retry-delay', '1']);

    const servers = { ours: ourPort, nginx: nginxPort };
    const bytes = megabytes * 1_000_000;
    for (const streams of [1, 8]) {
      await compare(`${streams} download(s) of ${megabytes} MB`, 'MB/s', servers, async (port) => {
        const since = performance.now();
        await Promise.all(Array.from({ length: streams }, () => curl(port, 'big', [])));
        return (streams * bytes) / 1000 / (performance.now() - since);
      });
    }
    await compare('4 KiB files, 16 connections', 'requests/s', servers, async (port) => {
      const { stdout } = await run('wrk', ['-t1', '-c16', '-d3s', `http://127.0.0.1:${port}/small`]);
      return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
    });

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
  unit: string,
  servers: { ours: number; nginx: number },
  measure: (port: number) => Promise<number>,
): Promise<void> {
  let ours = 0;
  let nginx = 0;
  for (let round = 0; round < 3; round++) {
    ours = Math.max(ours, await measure(servers.ours));
    nginx = Math.max(nginx, await measure(servers.nginx));
  }
  const ratio = (ours / nginx).toFixed(2);
  console.log(
    `${name}: ours ${Math.round(ours)} ${unit}, nginx ${Math.round(nginx)} ${unit}, ratio ${ratio}`,
  );
}

async function curl(port: number, name: string, options: readonly string[]): Promise<void> {
  await run('curl', ['-sf', '-o', '/dev/null', ...options, `http://127.0.0.1:${port}/${name}`]);
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

function nginxConfig(dir: string, port: number): string {
  return `daemon off; user root; worker_processes 1; pid ${dir}/nginx.pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path ${dir}/t1; proxy_temp_path ${dir}/t2; fastcgi_temp_path ${dir}/t3;
  uwsgi_temp_path ${dir}/t4; scgi_temp_path ${dir}/t5;
  server { listen 127.0.0.1:${port}; root ${dir}; }
}
`;
}
