import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
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

  it('leaves TFTP out on request', async (t) => {
    const { addresses } = await started(t, '--anchors', site.anchors, '--no-tftp');
    assert.equal(addresses.tftp, null);
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
