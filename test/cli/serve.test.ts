import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { ROOTFS, wholeSampleTree } from '../fixtures/release.ts';
import { ask } from '../serve/http/harness.ts';
import { type Running, run, serving } from './command.ts';
import { cliSite } from './site.ts';

const site = await cliSite(wholeSampleTree);
const WORDS = ['serve', '--tree', site.tree, '--http-port', '0', '--tftp-port', '0', '--nbd-port', '0'];
const curl = promisify(execFile);

interface Addresses {
  readonly release: string;
  readonly anchored: boolean;
  readonly url: string;
  readonly http: { readonly address: string; readonly port: number };
  readonly tftp: { readonly address: string; readonly port: number } | null;
}

async function started(
  t: TestContext,
  ...flags: string[]
): Promise<{ server: Running; addresses: Addresses }> {
  const server = serving(t, [...WORDS, '--json', ...flags]);
  const [line] = await server.until('out', /^.*\n/);
  return { server, addresses: JSON.parse(line) };
}

describe('serve', () => {
  it('prints one line with its addresses once everything listens', async (t) => {
    const { server, addresses } = await started(t, '--anchors', site.anchors);
    const { http, tftp, url } = addresses;
    assert.deepEqual([addresses.release, addresses.anchored], ['arch/2026.11.01', true]);
    assert.equal(url, `http://127.0.0.1:${http.port}`);
    const script = await readFile(join(site.tree, 'boot.ipxe'), 'utf8');
    assert.equal((await ask(http.port, '/boot.ipxe')).body.toString(), script);
    assert.equal((await ask(http.port, '/readyz')).status, 200);
    const { stdout } = await curl('curl', ['-s', `tftp://127.0.0.1:${tftp?.port}/boot.ipxe`]);
    assert.equal(stdout, script);
    server.signal('SIGTERM');
    const { code, out, err } = await server.ended;
    assert.deepEqual([code, out.split('\n').length], [0, 2]);
    // The log is on the other stream, one object a line.
    for (const line of err.trimEnd().split('\n')) assert.ok(JSON.parse(line).msg, line);
  });

  it('says that nothing was published yet, which is no refusal', async () => {
    const empty = await temporaryFolder();
    const words = ['serve', '--state', empty, '--anchors', site.anchors];
    const { code, err } = await run(words);
    assert.equal(code, 2);
    assert.match(err, /There is no state in \S+: "bootseal publish" makes one\./);
    // A first publishing that was cut short.
    await (await openState(empty)).release();
    const begun = await run(words);
    assert.equal(begun.code, 2, begun.err);
    assert.match(begun.err, /has no channel yet: "bootseal publish" makes one\./);
  });

  it('takes no sockets that were opened for another process', async () => {
    const env = { LISTEN_FDS: '1', LISTEN_PID: '1', LISTEN_FDNAMES: 'http' };
    const { code, err } = await run([...WORDS, '--anchors', site.anchors], { env });
    assert.equal(code, 2);
    assert.match(err, /LISTEN_FDS tells of sockets for the process 1, and this is \d+: /);
  });

  it('leaves TFTP out on request', async (t) => {
    const { addresses } = await started(t, '--anchors', site.anchors, '--no-tftp');
    assert.equal(addresses.tftp, null);
  });

  it('answers over DHCP on no interface that is not there, nor where nothing listens', async () => {
    const anchored = [...WORDS, '--anchors', site.anchors];
    const none = await run([...anchored, '--proxydhcp', 'nosuch0']);
    assert.equal(none.code, 2);
    assert.match(none.err, /There is no interface nosuch0 that is up and has an address/);
    const elsewhere = await run([...anchored, '--proxydhcp', 'lo', '--bind', '127.0.0.9']);
    assert.equal(elsewhere.code, 2);
    assert.match(elsewhere.err, /The interface lo has the address 127\.0\.0\.1, and nothing is served there/);
  });

  it('says on every side that nobody vouches for a tree without anchors', async (t) => {
    const { server, addresses } = await started(t);
    assert.equal(addresses.anchored, false);
    assert.match(server.said.err, /"serving unanchored: /);
    assert.match((await ask(addresses.http.port, '/')).body.toString(), /unanchored/);
    assert.equal(
      JSON.parse((await ask(addresses.http.port, '/api/v1/release')).body.toString()).anchored,
      false,
    );
    const people = serving(t, WORDS);
    await people.until(
      'out',
      /^arch\/2026\.11\.01 on http:\/\/127\.0\.0\.1:\d+, tftp:\/\/127\.0\.0\.1:\d+, nbd:\/\/127\.0\.0\.1:\d+ \(unanchored\)\n$/,
    );
  });

  it('lets unverified loaders in only by its configuration, and says so', async (t) => {
    const config = join(site.folder, 'allow.toml');
    await writeFile(config, 'allow_unverified_loaders = true\n');
    const { server, addresses } = await started(t, '--anchors', site.anchors, '--config', config);
    assert.match(server.said.err, /unverified loaders are allowed by the configuration/);
    const { http } = addresses;
    assert.match((await ask(http.port, '/')).body.toString(), /UNVERIFIED loaders are allowed/);
    assert.equal((await ask(http.port, '/unverified.ipxe')).status, 200);
    const strict = await started(t, '--anchors', site.anchors);
    assert.equal((await ask(strict.addresses.http.port, '/unverified.ipxe')).status, 404);
    // Nothing in a request can ask for it.
    const asked = await ask(strict.addresses.http.port, '/autoexec.ipxe?allow_unverified_loaders=true', {
      headers: { 'x-allow-unverified-loaders': 'true' },
    });
    assert.doesNotMatch(asked.body.toString(), /unverified\.ipxe/);
  });

  it('serves nothing from a tree that was changed after it was sealed', async () => {
    const other = await cliSite();
    await truncate(join(other.tree, ROOTFS), 1000);
    const { code, out, err } = await run([
      ...WORDS.slice(0, 2),
      other.tree,
      ...WORDS.slice(3),
      '--anchors',
      other.anchors,
    ]);
    assert.deepEqual([code, out], [1, '']);
    assert.match(err, /^refused \[bad-signature\] [^\n]*airootfs[^\n]*\n$/);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`drains on ${signal}: a download goes on to its end, nobody new is let in, the status is 0`, async (t) => {
      const { server, addresses } = await started(t, '--anchors', site.anchors);
      const { port } = addresses.http;
      const path = `/releases/arch/2026.11.01/${ROOTFS}`;
      const request = get({ host: '127.0.0.1', port, path, agent: false });
      const [response] = await once(request, 'response');
      server.signal(signal);
      await refusesConnections(port);
      const hash = createHash('sha256');
      for await (const piece of response) hash.update(piece);
      const whole = createHash('sha256').update(await readFile(join(site.tree, ROOTFS)));
      assert.equal(hash.digest('hex'), whole.digest('hex'));
      assert.equal((await server.ended).code, 0);
    });
  }

  it('ends with status 0 at a second signal, though a client still reads', async (t) => {
    const { server, addresses } = await started(t, '--anchors', site.anchors);
    const { port } = addresses.http;
    const request = get({
      host: '127.0.0.1',
      port,
      path: `/releases/arch/2026.11.01/${ROOTFS}`,
      agent: false,
    });
    request.on('error', () => {});
    const [response] = await once(request, 'response');
    response.on('error', () => {});
    server.signal('SIGTERM');
    await refusesConnections(port);
    server.signal('SIGINT');
    assert.equal((await server.ended).code, 0);
    assert.equal(response.complete, false);
  });
});

/** Ends when nobody listens on a port any more. */
async function refusesConnections(port: number): Promise<void> {
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port });
    const failed = await Promise.race([
      once(socket, 'connect').then(() => false),
      new Promise<boolean>((resolve) => socket.once('error', () => resolve(true))),
    ]);
    socket.destroy();
    if (failed) return;
  }
}

describe('serve on several addresses', () => {
  it('has one port for each protocol, and brackets wherever it names an address of IPv6', async (t) => {
    const { server, addresses } = await started(
      t,
      '--anchors',
      site.anchors,
      '--bind',
      '::1',
      '--bind',
      '127.0.0.1',
    );
    const { http, tftp, nbd, url } = addresses as Addresses &
      Record<'http' | 'tftp' | 'nbd', { urls: string[]; port: number }>;
    assert.equal(url, `http://[::1]:${http.port}`);
    for (const [scheme, { urls, port }] of Object.entries({ http, tftp, nbd }))
      assert.deepEqual(urls, [`${scheme}://[::1]:${port}`, `${scheme}://127.0.0.1:${port}`]);
    const script = await readFile(join(site.tree, 'boot.ipxe'), 'utf8');
    for (const base of [...http.urls, ...tftp.urls]) {
      const { stdout } = await curl('curl', ['-g', '-s', '--noproxy', '*', `${base}/boot.ipxe`]);
      assert.equal(stdout, script, base);
    }
    for (const base of nbd.urls) {
      const { stdout } = await curl('nbdinfo', ['--list', '--json', base]);
      assert.deepEqual(JSON.parse(stdout).exports.length > 0, true, base);
    }
    const page = (await curl('curl', ['-g', '-s', '-H', 'Host: localhost:1', `${url}/`])).stdout;
    assert.match(page, new RegExp(`<code>http://\\[::1\\]:${http.port}/boot\\.ipxe</code>`));
    server.signal('SIGTERM');
    assert.equal((await server.ended).code, 0);
  });

  it('takes :: for every address, IPv4 among them, unless one of IPv4 stands beside it', async (t) => {
    const alone = (await started(t, '--anchors', site.anchors, '--bind', '::')).addresses;
    const both = (await started(t, '--anchors', site.anchors, '--bind', '::', '--bind', '0.0.0.0')).addresses;
    for (const { http, tftp } of [alone, both])
      for (const host of ['127.0.0.1', '[::1]'])
        for (const base of [`http://${host}:${http.port}`, `tftp://${host}:${tftp?.port}`])
          assert.match(
            (await curl('curl', ['-g', '-s', '--noproxy', '*', `${base}/boot.ipxe`])).stdout,
            /^#!ipxe/,
            base,
          );
  });

  it('names the address that is none, and listens nowhere where one cannot be had', async () => {
    const wrong = await run([...WORDS, '--anchors', site.anchors, '--bind', 'localhost']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /that is not an IP address\./);
    const absent = await run([
      ...WORDS,
      '--anchors',
      site.anchors,
      '--bind',
      '127.0.0.1',
      '--bind',
      '192.0.2.1',
    ]);
    assert.equal(absent.code, 3);
    assert.match(absent.err, /HTTP cannot listen on 192\.0\.2\.1 port \d+: this machine has no such address/);
  });
});

describe('serve --tftp-single-port', () => {
  const config = join(site.folder, 'single-port.toml');
  for (const [what, flags] of [
    ['by a flag', ['--tftp-single-port']],
    ['by the configuration', ['--config', config]],
  ] as const) {
    it(`answers foreign clients from the port that they asked, ${what}`, async (t) => {
      await writeFile(config, 'tftp_single_port = true\n');
      const { addresses } = await started(t, '--anchors', site.anchors, ...flags);
      const port = String(addresses.tftp?.port);
      const script = await readFile(join(site.tree, 'boot.ipxe'), 'utf8');
      const target = join(site.folder, 'got');
      for (const [program, words] of [
        ['curl', ['-s', '-o', target, `tftp://127.0.0.1:${port}/boot.ipxe`]],
        ['tftp', ['-m', 'binary', '127.0.0.1', port, '-c', 'get', '/boot.ipxe', target]],
        ['busybox', ['tftp', '-g', '-l', target, '-r', '/boot.ipxe', '127.0.0.1', port]],
      ] as const) {
        await rm(target, { force: true });
        await curl(program, [...words]);
        assert.equal(await readFile(target, 'utf8'), script, program);
      }
      const { from } = await firstAnswer(Number(port), '/boot.ipxe');
      assert.equal(from, Number(port));
    });
  }

  it('is not so by default', async (t) => {
    const { addresses } = await started(t, '--anchors', site.anchors);
    const { from } = await firstAnswer(addresses.tftp?.port ?? 0, '/boot.ipxe');
    assert.notEqual(from, addresses.tftp?.port);
  });

  /** The port that the first answer to a request comes from. */
  async function firstAnswer(port: number, path: string): Promise<{ from: number }> {
    const socket = createSocket('udp4');
    const answered = once(socket, 'message');
    socket.send(Buffer.from(`\0\x01${path}\0octet\0`, 'latin1'), port, '127.0.0.1');
    const [, { port: from }] = await answered;
    socket.close();
    return { from };
  }
});

describe('serve, of a release that was sealed for a place of its own', () => {
  it('says that machines would look for their files elsewhere, and where', async (t) => {
    const elsewhere = await cliSite(wholeSampleTree, { url: 'http://10.0.0.9:8081' });
    const server = serving(t, [
      ...['serve', '--tree', elsewhere.tree, '--anchors', elsewhere.anchors, '--json'],
      ...['--http-port', '0', '--no-tftp', '--no-nbd'],
    ]);
    await server.until('out', /\n/);
    const said = await server.until('err', /iPXE fetches from [^;]*; [^"]*/);
    assert.equal(
      said[0],
      'iPXE fetches from the address 10.0.0.9 and the port 8081, which the sealed boot.ipxe names, and this server listens elsewhere; serve there, or seal with --url',
    );
    await server.until('err', /GRUB fetches from the address 10\.0\.0\.9 and the port 8081/);
  });
});
