import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

export interface NginxSite {
  /** The folder that is served. */
  readonly root: string;
  readonly port: number;
  /** Directives of the `server` block, beside those. */
  readonly more?: string;
}

export interface Nginx extends RunningServer {
  /** What was asked for: `PORT STATUS METHOD /path?query BYTES`, a line each. All of it is there once it has stopped. */
  asked(): Promise<readonly string[]>;
}

/**
 * A real nginx over folders, one port each. @param folder where its own files go. @param lan where it runs; undefined: here.
 */
export async function startNginx(
  folder: string,
  sites: readonly NginxSite[],
  address = '127.0.0.1',
  lan?: Lan,
): Promise<Nginx> {
  await mkdir(join(folder, 'logs'), { recursive: true });
  const conf = join(folder, 'nginx.conf');
  await writeFile(conf, configuration(folder, sites, address));
  const words = ['-p', folder, '-c', conf];
  const child = lan
    ? lan.spawn('nginx', words)
    : spawn('nginx', words, { stdio: ['ignore', 'pipe', 'pipe'] });
  // It listens before it says so.
  await waitForOutput(child, 'stderr', /start worker process/);
  return {
    ...running(child, 'SIGQUIT'),
    asked: async () =>
      (await readFile(join(folder, 'asked'), 'latin1')).split('\n').filter((line) => line !== ''),
  };
}

/** Ports that nobody has at the moment. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => {
    const bound = server.address();
    return typeof bound === 'object' && bound !== null ? bound.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function configuration(folder: string, sites: readonly NginxSite[], address: string): string {
  const servers = sites.map(
    ({ root, port, more = '' }) => `  server {
    listen ${address}:${port};
    root ${root};
    ${more}
  }`,
  );
  return `user root;
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr notice;
events { worker_connections 2048; }
http {
  log_format asked '$server_port $status $request_method $request_uri $body_bytes_sent';
  access_log ${folder}/asked asked;
  default_type application/octet-stream;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
${servers.join('\n')}
}
`;
}
