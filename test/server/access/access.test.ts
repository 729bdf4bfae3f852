import assert from 'node:assert/strict';
import { it } from 'node:test';
import { bearer, desk, JSON_TYPE } from './desk.ts';

const POST = { method: 'POST', body: '{"a":1}' } as const;

it('lets everybody read where reading is open, and tells who shows a token whose it is', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  assert.deepEqual(JSON.parse((await site.ask('/api/v1/thing')).text), { name: '', via: 'open' });
  const known = await site.ask('/api/v1/thing', { headers: bearer('ops') });
  assert.deepEqual(JSON.parse(known.text), { name: 'ops', via: 'token' });
  const unknown = await site.ask('/api/v1/thing', { headers: bearer('nobody') });
  assert.equal(unknown.status, 401);
  assert.equal(unknown.headers['www-authenticate'], 'Bearer realm="bootseal", error="invalid_token"');
  // Another scheme is a proxy's: it says nothing of tokens.
  assert.equal((await site.ask('/api/v1/thing', { headers: { Authorization: 'Basic YTpi' } })).status, 200);
});

it('needs a token with the scope read where reading does', async (t) => {
  const site = await desk(t, { read: 'token' });
  await site.give({ ops: ['arm'], eyes: ['read'] });
  const none = await site.ask('/api/v1/thing');
  assert.deepEqual([none.status, none.headers['www-authenticate']], [401, 'Bearer realm="bootseal"']);
  const without = await site.ask('/api/v1/thing', { headers: bearer('ops') });
  assert.equal(without.status, 403);
  assert.equal(
    without.headers['www-authenticate'],
    'Bearer realm="bootseal", error="insufficient_scope", scope="read"',
  );
  assert.equal((await site.ask('/api/v1/thing', { headers: bearer('eyes') })).status, 200);
});

it('lets write who has the scope, and nobody else', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'], eyes: ['read', 'assign', 'channels', 'withdraw'] });
  assert.equal((await site.ask('/api/v1/thing', { ...POST, headers: JSON_TYPE })).status, 401);
  const done = await site.ask('/api/v1/thing', { ...POST, headers: { ...JSON_TYPE, ...bearer('ops') } });
  assert.deepEqual([done.status, JSON.parse(done.text)], [200, { name: 'ops', fields: { a: 1 } }]);
  const without = await site.ask('/api/v1/thing', { ...POST, headers: { ...JSON_TYPE, ...bearer('eyes') } });
  assert.deepEqual(
    [without.status, without.text],
    [403, 'forbidden: The token eyes may not do this; it needs the scope arm.\n'],
  );
  assert.equal((await site.ask('/api/v1/thing', { method: 'DELETE', headers: bearer('eyes') })).status, 200);
  assert.equal((await site.ask('/api/v1/thing', { method: 'PUT', headers: bearer('eyes') })).status, 405);
});

it('knows no token whose end has come', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] }, '2026-11-01T00:00:10Z');
  const asked = { ...POST, headers: { ...JSON_TYPE, ...bearer('ops') } };
  site.now += 9_999;
  assert.equal((await site.ask('/api/v1/thing', asked)).status, 200);
  site.now += 1;
  assert.equal((await site.ask('/api/v1/thing', asked)).status, 401);
});

it('changes nothing for anybody where there is no state', async (t) => {
  const site = await desk(t, { tokens: undefined });
  const answer = await site.ask('/api/v1/thing', { ...POST, headers: { ...JSON_TYPE, ...bearer('ops') } });
  assert.deepEqual([answer.status, /without a state/.test(answer.text)], [403, true]);
  assert.equal((await site.ask('/api/v1/thing')).status, 200);
});

it('takes JSON and forms, and nothing that is neither', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const post = async (type: string, body: string) =>
    (
      await site.ask('/api/v1/thing', {
        method: 'POST',
        body,
        headers: { 'Content-Type': type, ...bearer('ops') },
      })
    ).text;
  assert.match(await post('application/json; charset=utf-8', '{"a":[1]}'), /"fields":\{"a":\[1\]\}/);
  assert.match(
    await post('application/x-www-form-urlencoded', 'a=1&b=x%20y'),
    /"fields":\{"a":"1","b":"x y"\}/,
  );
  assert.match(await post('application/json', '{"a":'), /"code":"malformed"/);
  assert.match(await post('application/x-www-form-urlencoded', 'a=1&a=2'), /"code":"malformed"/);
  assert.match(await post('text/plain', '{"a":1}'), /"code":"malformed"/);
});

it('tells a browser which fields bound what a page may do', async (t) => {
  const site = await desk(t);
  for (const path of ['/api/v1/thing', '/sign-in', '/api/v1/session']) {
    const { headers } = await site.ask(path);
    assert.equal(headers['x-frame-options'], 'DENY', path);
    assert.equal(headers['referrer-policy'], 'same-origin', path);
    assert.equal(headers['cross-origin-resource-policy'], 'same-origin', path);
    assert.equal(headers['cache-control'], 'no-store', path);
    assert.equal(headers['x-content-type-options'], 'nosniff', path);
    assert.match(
      String(headers['content-security-policy']),
      /^default-src 'none';.*frame-ancestors 'none'/,
      path,
    );
    assert.deepEqual(
      Object.keys(headers).filter((name) => /^access-control|^strict-transport/.test(name)),
      [],
      path,
    );
  }
  // A refusal is a page, too.
  const refused = await site.ask('/api/v1/thing', { headers: bearer('nobody') });
  assert.equal(refused.headers['x-frame-options'], 'DENY');
  // What a release brings is of no origin.
  assert.equal(
    (await site.ask('/boot.ipxe')).headers['content-security-policy'],
    "default-src 'none'; sandbox",
  );
});

it('ends a stream that a token was needed for before its next piece', async (t) => {
  const { PassThrough } = await import('node:stream');
  const { guarded } = await import('../../../src/server/access/guarded.ts');
  const site = await desk(t, { read: 'token' });
  await site.give({ eyes: ['read'] });
  const pieces = new PassThrough();
  const page = guarded(site.access, { GET: () => ({ status: 200, body: pieces }) });
  const answer = await page.handle({
    ...{ method: 'GET', path: '/', query: new URLSearchParams(), remote: '127.0.0.1', way: 'loopback' },
    headers: { host: '127.0.0.1', authorization: bearer('eyes').Authorization },
    body: Buffer.alloc(0),
    signal: new AbortController().signal,
  });
  assert.ok('body' in answer && typeof answer.body === 'object' && Symbol.asyncIterator in answer.body);
  const stream = answer.body[Symbol.asyncIterator]();
  pieces.write('one');
  assert.equal(String((await stream.next()).value), 'one');
  await site.give({});
  pieces.write('two');
  assert.equal((await stream.next()).done, true);
});
