import assert from 'node:assert/strict';
import { test } from 'node:test';
import { raw, serving } from '../serve/http/harness.ts';
import { memorySite } from '../serve/sites.ts';

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

for (const [what, fields] of Object.entries(REFUSED)) {
  test(`${what}: 400, said once with what was asked for, and the site is not asked`, async (t) => {
    const site = memorySite({ '/f': 'the file' });
    const server = await serving(t, site);
    const text = await raw(t, server.port, `GET /f HTTP/1.1\r\n${fields}\r\n`);
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.deepEqual(site.trace.found, []);
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
