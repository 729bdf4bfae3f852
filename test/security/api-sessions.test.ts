import assert from 'node:assert/strict';
import { it } from 'node:test';
import { IDLE_MS } from '../../src/server/access/sessions.ts';
import { desk, FORM_TYPE, JSON_TYPE, tokenOf } from '../server/access/desk.ts';

/** Cookies that somebody planted, stole, kept or wrote himself. */

const HOUR = 3_600_000;

it('a cookie is out of reach of scripts, of other sites, and of whoever has no TLS', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const cookie = async (tls: boolean) => {
    const body = `token=${tokenOf('ops')}`;
    const { status, headers } = await site.ask('/api/v1/session', {
      method: 'POST',
      headers: FORM_TYPE,
      body,
      tls,
    });
    assert.deepEqual([status, headers.location], [303, '/']);
    return headers['set-cookie'];
  };
  const [tls, plain] = [await cookie(true), await cookie(false)];
  assert.equal(tls?.length, 1);
  assert.match(
    tls?.[0] ?? '',
    /^__Host-bootseal=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
  );
  assert.match(plain?.[0] ?? '', /^bootseal=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
  // Each is good for the way that it was given for.
  const who = async (sent: string | undefined, over: boolean) =>
    JSON.parse(
      (await site.ask('/api/v1/session', { headers: { Cookie: sent?.split(';')[0] ?? '' }, tls: over })).text,
    ).via;
  assert.deepEqual([await who(tls?.[0], true), await who(tls?.[0], false)], ['session', 'open']);
  assert.deepEqual([await who(plain?.[0], false), await who(plain?.[0], true)], ['session', 'open']);
  assert.equal(await who(tls?.[0]?.replace('__Host-', ''), false), 'open');
  assert.equal(await who(`__Host-${plain?.[0]}`, true), 'open');
});

it('a cookie that was planted before signing in is none afterwards', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'], other: ['read'] });
  const planted = `bootseal=${'A'.repeat(43)}`;
  const { cookie } = await site.signIn('ops', { headers: { Cookie: planted } });
  assert.notEqual(cookie, planted);
  const via = async (sent: string) =>
    JSON.parse((await site.ask('/api/v1/session', { headers: { Cookie: sent } })).text).name;
  assert.deepEqual([await via(planted), await via(cookie)], ['', 'ops']);
  // An attacker's own live session, planted: it ends, and does not become somebody else's.
  const his = await site.signIn('other');
  const hers = await site.signIn('ops', { headers: { Cookie: his.cookie } });
  assert.deepEqual([await via(his.cookie), await via(hers.cookie)], ['', 'ops']);
  // Two of one name: a neighbour of the domain has set one of them.
  assert.equal(await via(`${planted}; ${cookie}`), '');
  assert.equal(await via(`x=1; ${cookie}; y=2`), 'ops');
});

it('a session ends with its token, at once', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'], other: ['arm'] });
  const { cookie } = await site.signIn('ops');
  const headers = { Cookie: cookie, Origin: `http://127.0.0.1:${site.http}`, ...JSON_TYPE };
  const write = async () => (await site.ask('/api/v1/thing', { method: 'POST', headers, body: '{}' })).status;
  assert.equal(await write(), 200);
  await site.give({ other: ['arm'] });
  assert.equal(await write(), 401);
  // The same name once more is another token; a session that ended stays so.
  await site.give({ ops: ['arm'], other: ['arm'] });
  assert.equal(await write(), 401);
});

it('a session has what its token has now, and ends when that does', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] }, '2026-11-01T01:00:00Z');
  const { cookie } = await site.signIn('ops');
  const headers = { Cookie: cookie, Origin: `http://127.0.0.1:${site.http}`, ...JSON_TYPE };
  const write = async () => (await site.ask('/api/v1/thing', { method: 'POST', headers, body: '{}' })).status;
  assert.equal(await write(), 200);
  await site.give({ ops: ['read'] }, '2026-11-01T01:00:00Z');
  assert.equal(await write(), 403);
  site.now += HOUR;
  assert.equal(await write(), 401);
});

it('a session that nobody uses ends after twelve hours, and one that is used does not', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const { cookie } = await site.signIn('ops');
  const via = async () =>
    JSON.parse((await site.ask('/api/v1/session', { headers: { Cookie: cookie } })).text).via;
  for (let times = 0; times < 3; times += 1) {
    site.monotonic += IDLE_MS - 1;
    assert.equal(await via(), 'session');
  }
  site.monotonic += IDLE_MS;
  assert.equal(await via(), 'open');
  assert.equal(IDLE_MS, 12 * HOUR);
});

it('signing out ends it, and takes the cookie away', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const { cookie } = await site.signIn('ops', { tls: true });
  const headers = { Cookie: cookie, Origin: `https://127.0.0.1:${site.https}` };
  const out = await site.ask('/api/v1/session', { method: 'DELETE', headers, tls: true });
  assert.deepEqual([out.status, out.headers['content-length']], [204, undefined]);
  assert.deepEqual(out.headers['set-cookie'], [
    '__Host-bootseal=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0',
  ]);
  assert.equal(JSON.parse((await site.ask('/api/v1/session', { headers, tls: true })).text).via, 'open');
});

it('forty browsers of one token: the one that was idle longest gives way', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const all: string[] = [];
  for (let times = 0; times < 40; times += 1) all.push((await site.signIn('ops')).cookie);
  const lives = await Promise.all(
    all.map(
      async (sent) => JSON.parse((await site.ask('/api/v1/session', { headers: { Cookie: sent } })).text).via,
    ),
  );
  assert.deepEqual(lives, [...Array(8).fill('open'), ...Array(32).fill('session')]);
});

it('signing in takes one field, and says in no answer what it was', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const secret = tokenOf('ops');
  for (const [type, body] of [
    [JSON_TYPE, JSON.stringify({ token: secret, name: 'x' })],
    [JSON_TYPE, JSON.stringify({ token: [secret] })],
    [JSON_TYPE, JSON.stringify(secret)],
    [JSON_TYPE, `{"token":"${secret}"`],
    [FORM_TYPE, `token=${secret}&token=${secret}`],
    [FORM_TYPE, `token=${secret}&next=//evil.example`],
    [{ 'Content-Type': 'text/plain' }, secret],
    [JSON_TYPE, JSON.stringify({ token: `${secret}x` })],
    [JSON_TYPE, JSON.stringify({ token: secret.padEnd(2000) })],
  ] as const) {
    const { status, text, headers } = await site.ask('/api/v1/session', {
      method: 'POST',
      headers: type,
      body,
    });
    assert.ok([400, 401, 413].includes(status), `${status} for ${body}`);
    assert.doesNotMatch(text, /ops0/);
    assert.equal(headers['set-cookie'], undefined);
  }
});
