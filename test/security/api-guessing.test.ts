import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { it } from 'node:test';
import { Shares } from '../../src/serve/shares.ts';
import { FailedTries } from '../../src/server/access/failed-tries.ts';
import { findToken, type Token, tokenDigest } from '../../src/store/tokens.ts';
import { raw } from '../serve/http/harness.ts';
import { bearer, desk, FORM_TYPE, tokenOf } from '../server/access/desk.ts';

/** Somebody who guesses tokens, and measures what he learns by it. */

it('is stopped, and told when to come back; nobody else is', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const guess = (from?: string) =>
    site.ask('/api/v1/thing', { headers: bearer('guess'), ...(from === undefined ? {} : { from }) });
  let refused = 0;
  for (; refused < 100; refused += 1) if ((await guess()).status !== 401) break;
  assert.equal(refused, 20);
  const { status, headers } = await guess();
  assert.deepEqual([status, headers['retry-after']], [429, '2']);
  // His own guess that is right is no more looked at than a wrong one, by whatever way.
  assert.equal((await site.ask('/api/v1/thing', { headers: bearer('ops') })).status, 429);
  const body = `token=${tokenOf('ops')}`;
  assert.equal((await site.ask('/api/v1/session', { method: 'POST', headers: FORM_TYPE, body })).status, 429);
  // Others, and reading without a token, go on.
  assert.equal((await site.ask('/api/v1/thing', { headers: bearer('ops'), from: '127.0.0.2' })).status, 200);
  assert.equal((await guess('127.0.0.3')).status, 401);
  assert.equal((await site.ask('/api/v1/thing')).status, 200);
  site.monotonic += 2000;
  assert.equal((await site.ask('/api/v1/thing', { headers: bearer('ops') })).status, 200);
});

it('keeps nobody out who signed in before, from the same address', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const { cookie } = await site.signIn('ops');
  for (let times = 0; times < 25; times += 1) await site.ask('/api/v1/thing', { headers: bearer('guess') });
  const headers = { Cookie: cookie };
  assert.equal(JSON.parse((await site.ask('/api/v1/session', { headers })).text).via, 'session');
});

it('does not count cookies that are none: a page that was left open shows one again and again', async (t) => {
  const site = await desk(t);
  await site.give({ ops: ['arm'] });
  const headers = { Cookie: `bootseal=${'A'.repeat(43)}` };
  for (let times = 0; times < 50; times += 1) await site.ask('/api/v1/thing', { headers });
  assert.equal((await site.ask('/api/v1/thing', { headers: bearer('ops') })).status, 200);
});

it('has a bucket for each share, as large as its weight, and cannot fill the memory', () => {
  let now = 0;
  const tries = new FailedTries(new Shares([{ prefix: '10.1.0.0/16', weight: 10 }]), () => now);
  const until = (address: string) => {
    let count = 0;
    for (; tries.waitOf(address) === 0; count += 1) tries.count(address);
    return count;
  };
  assert.deepEqual([until('10.0.0.1'), until('10.1.2.3'), until('fd00::1')], [20, 200, 20]);
  // Neighbours behind one router, and the addresses of one customer, are one.
  assert.ok(tries.waitOf('10.1.9.9') > 0);
  assert.ok(tries.waitOf('fd00::ffff') > 0);
  assert.equal(tries.waitOf('fd00:0:0:1::1'), 0);
  now += 2000;
  assert.deepEqual([until('10.0.0.1'), until('10.1.2.3')], [1, 10]);
  for (let at = 0; at < 10_000; at += 1) tries.count(`172.16.${at >> 8}.${at & 255}`);
  assert.ok(tries.size <= 4096);
});

it('is compared with every token, in a time that says nothing of any', async () => {
  let read = 0;
  const made = (name: string): Token => ({
    ...{ name, scopes: ['read'], made: '2026-11-01T00:00:00Z' },
    get sha256() {
      read += 1;
      return tokenDigest(tokenOf(name));
    },
  });
  const all = ['a', 'b', 'c'].map(made);
  for (const shown of [...['a', 'b', 'c', 'd'].map(tokenOf), '', 'x'.repeat(10_000)]) {
    read = 0;
    const found = findToken(all, shown, 0)?.name;
    assert.equal(
      found,
      ['a', 'b', 'c'].find((name) => tokenOf(name) === shown),
    );
    assert.equal(read, 3, shown.slice(0, 10));
  }
  // No secret is compared otherwise.
  for (const file of ['src/store/tokens.ts', 'src/server/access/sessions.ts'])
    assert.match(await readFile(file, 'utf8'), /timingSafeEqual\(/);
});

it('with a field as long as a book is answered by its length', async (t) => {
  const site = await desk(t);
  const begin =
    'GET /api/v1/thing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ';
  assert.match(await raw(t, site.http, `${begin}${'A'.repeat(100_000)}\r\n\r\n`), /^HTTP\/1\.1 431 /);
  assert.match(await raw(t, site.http, `${begin}${'A'.repeat(7000)}\r\n\r\n`), /^HTTP\/1\.1 401 /);
});
