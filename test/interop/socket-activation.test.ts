import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { waitForOutput } from '../../lab/output.ts';
import { keeperWords, startKept, stopKept } from '../../lab/socket-keeper.ts';
import { cliSite } from '../cli/site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { ROOTFS, wholeSampleTree } from '../fixtures/release.ts';

/**
 * Sockets that others open: systemd-socket-activate does what systemd does with one socket unit, up to the moment at which
 * the first client knocks; a parent that keeps the socket does the rest.
 */

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const site = await cliSite(wholeSampleTree);
const SERVE = [process.execPath, MAIN, 'serve', '--tree', site.tree, '--anchors', site.anchors, '--json'];
const script = await readFile(join(site.tree, 'boot.ipxe'), 'utf8');

const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(program: string, words: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(program, [...words], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err });
    });
  });
}

const fetched = async (url: string): Promise<string> => (await run('curl', ['-sS', '--retry', '5', url])).out;

/** Ports that nobody has, held until all are known. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Waits at sockets, and starts the server when somebody comes. */
async function activated(t: TestContext, flags: readonly string[], words: readonly string[]) {
  const child = spawn('systemd-socket-activate', [...flags, ...SERVE, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  const said = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text;
  });
  const ended = once(child, 'close').then(([code]): Ran => {
    children.delete(child);
    return { code: Number(code), ...said };
  });
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const last = flags.filter((flag) => flag === '-l').length + 2;
  await waitForOutput(child, 'stderr', new RegExp(`Listening on .* as ${last}\\.`));
  return {
    ended,
    /** What the server says of itself. */
    async addresses() {
      if (!said.out.includes('\n')) await waitForOutput(child, 'stdout', /\n/);
      return JSON.parse(said.out);
    },
    async stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

describe('served at sockets that systemd opened', () => {
  it('HTTP and NBD: the client for whom the server was started is answered', async (t) => {
    const [http = 0, nbd = 0] = await freePorts(2);
    const flags = ['-l', `127.0.0.1:${http}`, '-l', `127.0.0.1:${nbd}`, '--fdname=http:nbd'];
    // What would be bound otherwise is no port at all.
    const server = await activated(t, flags, ['--http-port', '1', '--nbd-port', '1', '--no-tftp']);
    assert.equal(await fetched(`http://127.0.0.1:${http}/boot.ipxe`), script);
    const { http: at, nbd: blocks, url } = await server.addresses();
    assert.deepEqual([at.urls, blocks.urls], [[url], [`nbd://127.0.0.1:${nbd}`]]);
    assert.equal(url, `http://127.0.0.1:${http}`);
    const uri = `nbd://127.0.0.1:${nbd}`;
    const list = JSON.parse((await run('nbdinfo', ['--list', '--json', uri])).out);
    const [name = ''] = list.exports.map((each: { 'export-name': string }) => each['export-name']);
    const root = await run('nbdinfo', ['--size', `${uri}/${name}`]);
    assert.deepEqual([root.code, Number(root.out)], [0, (await stat(join(site.tree, ROOTFS))).size]);
    const { code } = await server.stop();
    assert.equal(code, 0);
  });

  it('HTTP at several, and each says where it is', async (t) => {
    const [one = 0, other = 0] = await freePorts(2);
    const flags = ['-l', `127.0.0.1:${one}`, '-l', `[::1]:${other}`, '--fdname=http:http'];
    const server = await activated(t, flags, ['--no-tftp', '--no-nbd']);
    assert.equal(await fetched(`http://[::1]:${other}/boot.ipxe`), script);
    assert.equal(await fetched(`http://127.0.0.1:${one}/boot.ipxe`), script);
    const { http } = await server.addresses();
    assert.deepEqual(http.urls, [`http://127.0.0.1:${one}`, `http://[::1]:${other}`]);
  });

  it('HTTPS beside HTTP, each at its own', async (t) => {
    const folder = await temporaryFolder();
    const [key, certificate] = [join(folder, 'tls.key'), join(folder, 'tls.crt')];
    const made = await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', key, '-out', certificate],
    ]);
    assert.equal(made.code, 0, made.err);
    await chmod(key, 0o600);
    const config = join(folder, 'serve.toml');
    await writeFile(config, '[tls]\ncertificate = "tls.crt"\nkey = "tls.key"\nport = 1\n');
    const [http = 0, https = 0] = await freePorts(2);
    const flags = ['-l', `127.0.0.1:${http}`, '-l', `127.0.0.1:${https}`, '--fdname=http:https'];
    const server = await activated(t, flags, ['--no-tftp', '--no-nbd', '--config', config]);
    const secure = ['-sS', '--cacert', certificate, `https://localhost:${https}/boot.ipxe`];
    assert.equal((await run('curl', secure)).out, script);
    assert.equal(await fetched(`http://127.0.0.1:${http}/boot.ipxe`), script);
    assert.deepEqual((await server.addresses()).https.urls, [`https://127.0.0.1:${https}`]);
  });

  it('the lines of loaders', async (t) => {
    const config = join(await temporaryFolder(), 'serve.toml');
    await writeFile(config, '[syslog]\nport = 1\n');
    const [syslog = 0] = await freePorts(1);
    const server = await activated(
      t,
      ['-d', '-l', `127.0.0.1:${syslog}`, '--fdname=syslog'],
      ['--http-port', '0', '--no-tftp', '--no-nbd', '--config', config],
    );
    const client = createSocket('udp4');
    client.send('<6>ipxe: ok', syslog, '127.0.0.1', () => client.close());
    assert.deepEqual((await server.addresses()).syslog.urls, [`syslog://127.0.0.1:${syslog}`]);
  });

  it('TFTP, and what has no socket is bound as before', async (t) => {
    const [tftp = 0] = await freePorts(1);
    const server = await activated(
      t,
      ['-d', '-l', `127.0.0.1:${tftp}`, '--fdname=tftp'],
      ['--http-port', '0', '--tftp-port', '1', '--nbd-port', '0'],
    );
    assert.equal(await fetched(`tftp://127.0.0.1:${tftp}/boot.ipxe`), script);
    const { http, tftp: at } = await server.addresses();
    assert.deepEqual(at.urls, [`tftp://127.0.0.1:${tftp}`]);
    assert.equal(await fetched(`${http.urls[0]}/boot.ipxe`), script);
  });

  it('TFTP at every address of both families, which is what a port alone means in a socket unit', async (t) => {
    const [tftp = 0] = await freePorts(1);
    const server = await activated(
      t,
      ['-d', '-l', String(tftp), '--fdname=tftp'],
      [...['--http-port', '0', '--no-nbd']],
    );
    assert.equal(await fetched(`tftp://127.0.0.1:${tftp}/boot.ipxe`), script);
    assert.equal(await fetched(`tftp://[::1]:${tftp}/boot.ipxe`), script);
    assert.deepEqual((await server.addresses()).tftp.urls, [`tftp://[::]:${tftp}`]);
  });
});

describe('a socket that cannot be meant is a usage error, and nothing is served', () => {
  for (const [what, flags, words, says] of [
    ['a stream for TFTP', ['--fdname=tftp'], [], /TFTP was handed the descriptor 3, which is no UDP socket/],
    ['datagrams for HTTP', ['-d', '--fdname=http'], [], /HTTP was handed the descriptor 3, which is no TCP/],
    ['datagrams for NBD', ['-d', '--fdname=nbd'], [], /NBD was handed the descriptor 3, which is no TCP/],
    [
      'a stream for DHCP',
      ['--fdname=dhcp'],
      ['--proxydhcp', 'lo'],
      /DHCP was handed the descriptor 3, which/,
    ],
    [
      'a name of nothing',
      ['--fdname=web'],
      [],
      /handed over with the name "web"; FileDescriptorName= is one/,
    ],
    ['no name', [], [], /LISTEN_FDNAMES names 0: each needs FileDescriptorName=/],
    ['what is left out', ['-d', '--fdname=tftp'], ['--no-tftp'], /A socket for tftp was handed over, which/],
    ['HTTPS without a certificate', ['--fdname=https'], [], /A socket for https was handed over, which/],
    ['DHCP on no interface', ['-d', '--fdname=dhcp'], [], /A socket for dhcp was handed over, which/],
    ['a port of no DHCP', ['-d', '--fdname=dhcp'], ['--proxydhcp', 'lo'], /listens at the ports 67 and 4011/],
  ] as const) {
    it(what, async (t) => {
      const [port = 0] = await freePorts(1);
      const free = ['--http-port', '0', '--nbd-port', '0'];
      const tftp = (words as readonly string[]).includes('--no-tftp') ? [] : ['--tftp-port', '0'];
      const server = await activated(t, ['-l', `127.0.0.1:${port}`, ...flags], [...free, ...tftp, ...words]);
      if ((flags as readonly string[]).includes('-d')) {
        const client = createSocket('udp4');
        client.send('knock', port, '127.0.0.1', () => client.close());
      } else void fetched(`http://127.0.0.1:${port}/`);
      const { code, out, err } = await server.ended;
      assert.match(err, says);
      assert.deepEqual([code, Object.keys(JSON.parse(out))], [2, ['error']]);
    });
  }
});

describe('a restart', () => {
  it('loses no client: who comes between two servers is answered by the second', async () => {
    const [port = 0] = await freePorts(1);
    const words = keeperWords(
      [{ kind: 'stream', address: '127.0.0.1', port, name: 'http' }],
      [...SERVE, '--no-tftp', '--no-nbd', '--quiet'],
    );
    const keeper = spawn('perl', words, { stdio: ['pipe', 'pipe', 'inherit'] });
    children.add(keeper);
    await waitForOutput(keeper, 'stdout', /kept\n/);
    const url = `http://127.0.0.1:${port}/boot.ipxe`;
    const first = await startKept(keeper);
    assert.equal(await fetched(url), script);
    assert.equal(await stopKept(keeper, first), 0);
    const between = fetched(url);
    const second = await startKept(keeper);
    assert.equal(await between, script);
    assert.equal(await stopKept(keeper, second), 0);
    keeper.stdin.end();
    await once(keeper, 'close');
    children.delete(keeper);
  });
});
