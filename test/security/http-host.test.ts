import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { raw, serving } from '../serve/http/harness.ts';
import { memorySite, WAYS } from '../serve/sites.ts';

/** RFC 9112 §3.2: 400 for no Host, for two of them, and for one that names no host. */
const REFUSED = {
  'no Host': '',
  'two Hosts': 'Host: a\r\nHost: b\r\n',
  'twice the same': 'Host: a\r\nhost: a\r\n',
  'two in one field': 'Host: a, b\r\n',
  'an empty one': 'Host:\r\n',
  'a path in it': 'Host: a/b\r\n',
  'a user in it': 'Host: u@a\r\n',
  'a space in it': 'Host: a b\r\n',
  'a port that is none': 'Host: a:80x\r\n',
  'an open bracket': 'Host: [::1\r\n',
} as const;

for (const [what, fields, way, siteOf] of Object.entries(REFUSED).flatMap((one) =>
  WAYS.map((two) => [...one, ...two] as const),
)) {
  test(`${what}: 400, said once with what was asked for, and the site is not asked, ${way}`, async (t) => {
    const site = siteOf({ '/f': 'the file' });
    const server = await serving(t, site);
    const text = await raw(t, server.port, `GET /f HTTP/1.1\r\n${fields}\r\n`);
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.deepEqual([site.trace.found, site.trace.held], [[], 0]);
    const { asked, status } = await server.event('answered');
    assert.deepEqual([asked, status], ['/f', 400]);
    assert.equal(server.events.filter(({ kind }) => kind === 'answered').length, 1);
  });
}

for (const host of ['a', 'a.example:8080', '10.0.0.1', '10.0.0.1:', '[::1]:80', '[fe80::1]', 'boot_server']) {
  test(`a host: ${host}`, async (t) => {
    const server = await serving(t, memorySite({ '/f': 'x' }));
    const text = await raw(t, server.port, `GET /f HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assert.match(text, /^HTTP\/1\.1 200 /);
  });
}

test('HTTP/1.0 needs no Host, and two are no better there', async (t) => {
  const server = await serving(t, memorySite({ '/f': 'x' }));
  assert.match(await raw(t, server.port, 'GET /f HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
  assert.match(
    await raw(t, server.port, 'GET /f HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n'),
    /^HTTP\/1\.1 400 /,
  );
});

/**
 * Firmware and GRUB leave the port out of Host, and anyone can write anything there: an address that the server makes is
 * its own, in every page and script, whatever the request says of names.
 */
test('no page, script, refusal or field of an answer holds what a request called the server', async (t) => {
  const folder = await temporaryFolder();
  const keys = await makeKeys(join(folder, 'keys'));
  const tree = await sampleTree(join(folder, 'tree'), keys);
  await sealFixture(tree, keys);
  const logged: string[] = [];
  const note = (...words: unknown[]): void => void logged.push(JSON.stringify(words));
  const server = await serve({
    tree,
    anchors: [join(keys, 'anchors')],
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    // The page knows this name, and names itself by what it listens at all the same.
    configuration: { allow_unverified_loaders: true, api: { read: 'open', hosts: ['planted.example'] } },
    log: { info: note, warn: note, error: note },
  });
  t.after(() => server.close(0));
  const inside = '/releases/arch/2026.11.01';
  const paths = [
    ...['/', '/healthz', '/readyz', '/metrics', '/api/v1/release', '/favicon.ico', '/..%2f', '*'],
    ...[
      '/boot.ipxe',
      '/boot.ipxe.sig',
      '/autoexec.ipxe',
      '/unverified.ipxe',
      '/grub.cfg',
      '/entries/x86_64/boot.ipxe',
    ],
    ...[inside, `${inside}/`, `${inside}/release.manifest`, `${inside}/SHA256SUMS`, `${inside}/boot.ipxe`],
    ...[
      '/machines/52:54:00:12:34:56/grub.cfg',
      '/channels/stable',
      '/channels/stable/boot.ipxe',
      '/anchors/0/boot.ipxe',
    ],
  ];
  let answered = 0;
  for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS'])
    for (const path of paths) {
      const text = await exchange(
        server.http.port,
        [
          `${method} ${path} HTTP/1.1`,
          'Host: planted.example:1234',
          'X-Forwarded-Host: planted.example',
          'X-Forwarded-Proto: planted',
          'X-Forwarded-For: 192.0.2.77',
          'Forwarded: host=planted.example;proto=planted',
          'Origin: http://planted.example',
          'Referer: http://planted.example/',
          'Range: bytes=0-999999',
          'Connection: close',
          '\r\n',
        ].join('\r\n'),
      );
      assert.match(text, /^HTTP\/1\.1 [2-5]\d\d /, `${method} ${path}`);
      assert.doesNotMatch(text, /planted|192\.0\.2\.77/, `${method} ${path}`);
      if (/^HTTP\/1\.1 2/.test(text)) answered += 1;
    }
  // The absolute form of a target names a host as well (RFC 9112 §3.2.2).
  const absolute = await exchange(
    server.http.port,
    'GET http://planted.example/autoexec.ipxe HTTP/1.1\r\nHost: planted.example\r\nConnection: close\r\n\r\n',
  );
  assert.doesNotMatch(absolute, /planted/);
  assert.ok(answered > 20, `${answered} of the requests were given something`);
  assert.ok(!logged.some((line) => line.includes('planted.example:1234')));
});

/** Everything that a server writes until it hangs up. */
function exchange(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(request, 'latin1'));
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece;
    });
    socket.on('error', reject).on('end', () => resolve(text));
  });
}
