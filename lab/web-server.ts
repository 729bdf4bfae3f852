import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from './nginx.ts';
import { waitForOutput } from './output.ts';
import { running } from './servers.ts';

/** Debian's nginx with a configuration of the caller's, and nothing of the machine's. */
export interface WebServer {
  readonly url: string;
  readonly port: number;
  /** What it did: a line a request, `STATUS CACHE "REQUEST" BYTES`. */
  log(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Gives out a folder, and adds nothing to it; a connection ends with its answer. */
export function webServer(root: string): Promise<WebServer> {
  return startWebServer(
    (port) => `server { listen 127.0.0.1:${port}; keepalive_timeout 0; root ${root}; }\n`,
  );
}

/** Gives on what another server says, a connection for each question. */
export function oneByOne(url: string): Promise<WebServer> {
  return startWebServer(
    (port) => `server { listen 127.0.0.1:${port}; keepalive_timeout 0; location / { proxy_pass ${url}; } }\n`,
  );
}

/**
 * @param inHttp what stands in the `http` block: a `server` at least, which listens on the port that it is given, of
 *   127.0.0.1.
 * @param at the port; default: one that is free.
 * @throws Error with nginx's own words where it does not start.
 */
export async function startWebServer(inHttp: (port: number) => string, at?: number): Promise<WebServer> {
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-nginx-'));
  // Its workers are another user's, as they should be.
  await chmod(folder, 0o755);
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  for (const kind of kinds) await mkdir(join(folder, kind));
  const [port = 0] = at === undefined ? await freePorts(1) : [at];
  const configuration = [
    ...(process.getuid?.() === 0 ? ['user root;'] : []),
    `daemon off; worker_processes 2; pid ${folder}/pid; error_log stderr notice;`,
    'events { worker_connections 512; }',
    'http {',
    '  default_type application/octet-stream;',
    `  log_format lab '$status $upstream_cache_status "$request" $body_bytes_sent';`,
    `  access_log ${folder}/access.log lab;`,
    ...kinds.map((kind) => `  ${kind}_temp_path ${folder}/${kind};`),
    inHttp(port),
    '}',
    '',
  ].join('\n');
  const path = join(folder, 'nginx.conf');
  await writeFile(path, configuration);
  const child = spawn('nginx', ['-c', path, '-p', folder], { stdio: ['ignore', 'pipe', 'pipe'] });
  // It listens before it says so.
  await waitForOutput(child, 'stderr', /start worker process/);
  const server = running(child, 'SIGTERM');
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    log: async () => (await readFile(join(folder, 'access.log'), 'utf8')).split('\n').filter(Boolean),
    close: async () => {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
