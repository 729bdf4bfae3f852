import assert from 'node:assert/strict';
import { it } from 'node:test';
import { decodeIpPrefix } from '../../src/formats/net/ip-address.ts';
import { wayOf } from '../../src/serve/http/request-way.ts';
import { bearer, desk, JSON_TYPE, tokenOf } from '../server/access/desk.ts';

/** Whoever is between reads a token that comes in the clear, and a client that claims otherwise only claims it. */

const POST = { method: 'POST', body: '{}' } as const;
const FORWARDED = { 'X-Forwarded-For': '192.0.2.7', 'X-Forwarded-Proto': 'https' };

it('a proxy that nobody named makes its clients no part of this machine, and its word is nobody’s', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const write = async (more: Readonly<Record<string, string>>) =>
    (await site.ask('/api/v1/thing', { ...POST, headers: { ...JSON_TYPE, ...bearer('ops'), ...more } }))
      .status;
  assert.equal(await write({}), 200);
  for (const more of [
    FORWARDED,
    { 'X-Forwarded-Proto': 'https' },
    { 'X-Forwarded-For': '127.0.0.1' },
    { 'X-Forwarded-Host': 'localhost' },
    { Forwarded: 'for=127.0.0.1;proto=https' },
    { Via: '1.1 proxy' },
    { 'X-Real-IP': '127.0.0.1' },
  ])
    assert.equal(await write(more), 403, JSON.stringify(more));
  const body = JSON.stringify({ token: tokenOf('ops') });
  const signIn = await site.ask('/api/v1/session', {
    method: 'POST',
    headers: { ...JSON_TYPE, ...FORWARDED },
    body,
  });
  assert.deepEqual([signIn.status, signIn.headers['set-cookie']], [403, undefined]);
  assert.match(
    signIn.text,
    /^\{"code":"forbidden","message":"Tokens are taken over TLS|^forbidden: Tokens are taken/,
  );
  // Nor does reading with a token say whether it is one; nor does the form ask for one.
  assert.equal(
    (await site.ask('/api/v1/thing', { headers: { ...bearer('ops'), ...FORWARDED } })).status,
    403,
  );
  assert.doesNotMatch((await site.ask('/sign-in', { headers: FORWARDED })).text, /<form/);
  assert.match((await site.ask('/sign-in')).text, /<form/);
});

it('a proxy that was named is believed that a client came over TLS, where it says just that', async (t) => {
  const site = await desk(t, { proxies: ['127.0.0.1'] });
  await site.give({ ops: ['arm'] });
  const write = async (proto: string, from = '127.0.0.1') =>
    (
      await site.ask('/api/v1/thing', {
        ...{ ...POST, from },
        headers: {
          ...JSON_TYPE,
          ...bearer('ops'),
          'X-Forwarded-For': '192.0.2.7',
          'X-Forwarded-Proto': proto,
        },
      })
    ).status;
  assert.equal(await write('https'), 200);
  for (const proto of ['http', '', 'HTTPS', 'https, http', 'http, https', 'https,https', 'wss'])
    assert.equal(await write(proto), 403, proto);
  assert.equal(await write('https', '127.0.0.2'), 403, 'from elsewhere');
  // A session that was begun over TLS is of that way, and its cookie of no other.
  const { cookie } = await site.signIn('ops', { headers: FORWARDED });
  assert.match(cookie, /^__Host-bootseal=/);
  const who = async (headers: Readonly<Record<string, string>>) =>
    JSON.parse((await site.ask('/api/v1/session', { headers })).text).via;
  assert.equal(await who({ Cookie: cookie, ...FORWARDED }), 'session');
  assert.equal(await who({ Cookie: cookie }), 'open');
  assert.equal(await who({ Cookie: cookie.replace('__Host-', '') }), 'open');
});

it('from another machine nothing is written without TLS, and with it, it is', async (t) => {
  const proxies = ['10.9.0.1', 'fd00:9::/64'].map(decodeIpPrefix);
  const way = (peer: string, encrypted = false, headers: Readonly<Record<string, string>> = {}) =>
    wayOf(peer, encrypted, headers, proxies);
  assert.deepEqual(
    ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', '10.0.0.7', 'fd00::7', ''].map((peer) => way(peer)),
    ['loopback', 'loopback', 'loopback', 'loopback', 'plain', 'plain', 'plain'],
  );
  assert.equal(way('10.0.0.7', true), 'tls');
  assert.equal(way('10.0.0.7', true, { 'x-forwarded-proto': 'http' }), 'tls');
  assert.equal(way('10.0.0.7', false, { 'x-forwarded-proto': 'https' }), 'plain');
  assert.equal(way('10.9.0.1', false, { 'x-forwarded-proto': 'https' }), 'tls');
  assert.equal(way('fd00:9::1', false, { 'x-forwarded-proto': 'https' }), 'tls');
  // Over TLS from the proxy, and in the clear to it.
  assert.equal(
    way('10.9.0.1', true, { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'http' }),
    'plain',
  );
  const site = await desk(t, { proxies: ['127.0.0.0/8'] });
  await site.give({ ops: ['arm'] });
  const headers = { ...JSON_TYPE, ...bearer('ops') };
  const write = async (tls: boolean) =>
    (
      await site.ask('/api/v1/thing', {
        ...POST,
        headers: { ...headers, ...(tls ? {} : { Via: '1.1 x' }) },
        tls,
      })
    ).status;
  assert.deepEqual([await write(false), await write(true)], [403, 200]);
});
