import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeIpPrefix } from '../../../src/formats/net/ip-address.ts';
import { clientOf } from '../../../src/serve/http/http-client.ts';
import { textAnswer } from '../../../src/serve/http/http-pages.ts';
import type { Page } from '../../../src/serve/http/http-types.ts';
import { memorySite } from '../sites.ts';
import { ask, serving } from './harness.ts';

const PROXIES = ['127.0.0.1', '10.9.0.0/16', 'fd00::/16'].map(decodeIpPrefix);

for (const [what, remote, field, client] of [
  ['nobody named a proxy', '10.0.0.1', undefined, '10.0.0.1'],
  ['a stranger says so', '10.0.0.1', '192.0.2.1', '10.0.0.1'],
  ['a proxy says so', '10.9.0.1', '192.0.2.1', '192.0.2.1'],
  ['what a client wrote before its proxy did', '10.9.0.1', '203.0.113.9, 192.0.2.1', '192.0.2.1'],
  ['a chain of proxies', '127.0.0.1', '203.0.113.9, 192.0.2.1, 10.9.1.1', '192.0.2.1'],
  ['proxies all the way', '127.0.0.1', '10.9.0.2, 10.9.0.1', '10.9.0.2'],
  ['IPv6', '::ffff:127.0.0.1', '2001:db8::5', '2001:db8::5'],
  ['no address', '127.0.0.1', 'unknown', '127.0.0.1'],
  ['no address before one', '127.0.0.1', '<script>, 192.0.2.1', '192.0.2.1'],
  ['an empty field', '127.0.0.1', '', '127.0.0.1'],
] as const) {
  test(`whose request: ${what}`, () => assert.equal(clientOf(remote, field, PROXIES), client));
}

test('pages and events see the client behind a trusted proxy, and nobody else’s word', async (t) => {
  const page: Page = { handle: ({ remote }) => textAnswer(200, remote) };
  const pages = new Map([['/who', page]]);
  const headers = { 'X-Forwarded-For': '192.0.2.7' };
  const trusting = await serving(t, memorySite({}), {}, pages, { proxies: PROXIES });
  assert.equal((await ask(trusting.port, '/who', { headers })).body.toString(), '192.0.2.7');
  assert.equal((await trusting.event('ended')).remote, '192.0.2.7');
  const plain = await serving(t, memorySite({}), {}, pages);
  assert.equal((await ask(plain.port, '/who', { headers })).body.toString(), '127.0.0.1');
  assert.equal((await plain.event('ended')).remote, '127.0.0.1');
});
