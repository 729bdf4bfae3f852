import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/errors/refusal.ts';
import { bytesResource } from '../../src/release/bytes-resource.ts';
import type { Site } from '../../src/release/site.ts';
import { safeRequestPath } from '../../src/serve/http/request-path.ts';
import { raw, serving } from '../serve/http/harness.ts';
import { memorySite } from '../serve/sites.ts';

const TRICKS = [
  '/..',
  '/../etc/passwd',
  '/a/./b',
  '/a/../b',
  '/%2e%2e%2fetc%2fpasswd',
  '/%2e%2e/etc',
  '/.%2e/etc',
  '/%252e%252e/etc',
  '/%25252e%25252e/etc',
  '/a%2fb',
  '/a%5cb',
  '/a\\..\\b',
  '//../etc/passwd',
  '/-rf',
  '/a%00',
  '/a%00.ipxe',
  '/a%0d%0aX:y',
  '/a%20b',
  '/%',
  '/%2',
  '/%zz',
  '/%u002e',
  '/%c0%ae%c0%ae/etc',
  '/%e0%80%af',
  '/%ff%fe',
  '/%ef%bc%8e%ef%bc%8e/etc',
  '/a#b',
  '/a;b',
  '/a|b',
  '/~root/../x',
  '*',
  '',
  'a',
  'http://127.0.0.1/boot.ipxe',
  'file:///etc/passwd',
  `/${'a'.repeat(1024)}`,
];

for (const target of TRICKS) {
  test(`refused: ${JSON.stringify(target.slice(0, 40))}`, () => {
    const path = safeRequestPath(target);
    assert.ok(path instanceof Refusal);
    assert.equal(path.code, 'unsafe-path');
    assert.equal(target.length > 3 && path.message.includes(target), false, 'the target is not echoed');
  });
}

for (const [target, path] of [
  ['/', '/'],
  ['/?x=/../y', '/'],
  ['/boot.ipxe', '/boot.ipxe'],
  ['/releases/arch/2026.11.01/arch/boot/x86_64/vmlinuz-linux.ipxe.sig?q#', undefined],
  ['/a%2Eb', '/a.b'],
  ['/...', '/...'],
  ['//boot.ipxe', '/boot.ipxe'],
  ['/releases//arch///1/vmlinuz', '/releases/arch/1/vmlinuz'],
  ['///', '/'],
  ['/machines/52%3a54%3A00/x', '/machines/52:54:00/x'],
  ['/a+b=c,d@e~f_g-h', '/a+b=c,d@e~f_g-h'],
] as const) {
  test(`accepted: ${target}`, () => {
    assert.equal(safeRequestPath(target), path ?? target.slice(0, target.indexOf('?')));
  });
}

test('a directory is absent, not unsafe', () => {
  const path = safeRequestPath('/releases/');
  assert.ok(path instanceof Refusal && path.code === 'absent');
});

test('whatever is accepted is safe and is accepted as itself', () => {
  const alphabet = fc.constantFrom(...'/.%2eE5c0fa~\\\0 ');
  fc.assert(
    fc.property(fc.string({ unit: alphabet, maxLength: 24 }), (text) => {
      const path = safeRequestPath(`/${text}`);
      if (path instanceof Refusal) return;
      assert.match(path, /^\/(?:[A-Za-z0-9._+@:,=~-]+(?:\/[A-Za-z0-9._+@:,=~-]+)*)?$/);
      assert.doesNotMatch(path, /(?:^|\/)\.{1,2}(?:\/|$)/);
      assert.equal(safeRequestPath(path), path);
    }),
    { numRuns: 2000 },
  );
});

test('over the wire no trick reaches the site, and each is told why', async (t) => {
  const site = memorySite({ '/boot.ipxe': 'x' });
  const { port, events } = await serving(t, site);
  const sendable = TRICKS.filter((target) => /^[\x21-\x7e]+$/.test(target));
  for (const target of [...sendable, '/\xc0\xae\xc0\xae/etc']) {
    const request = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, 'latin1');
    assert.match(
      await raw(t, port, request),
      /^HTTP\/1\.1 400 .*(?:unsafe-path: |not an HTTP\/1\.1 request)/s,
      target,
    );
  }
  assert.deepEqual(site.trace.found, []);
  const asked = events.flatMap((event) =>
    event.kind === 'refused' || event.kind === 'turned-away' ? [event.asked] : [],
  );
  assert.ok(asked.includes('/a%0d%0aX:y'), asked.join('\n'));
  assert.ok(
    asked.some((each) => each.includes('/\\u00c0\\u00ae\\u00c0\\u00ae/etc')),
    asked.join('\n'),
  );
  for (const each of asked) assert.match(each, /^[\x20-\x7e]{0,200}…?$/);
});

test('nor is one answered at once, by a site that would', async (t) => {
  const content = Buffer.from('secret');
  let held = 0;
  const gullible: Site = {
    find: async (path) => new Refusal('absent', 'There is no such path.', { path }),
    known: () => ({
      ...bytesResource('secret', content, true),
      held: () => {
        held += 1;
        return content;
      },
    }),
  };
  const { port } = await serving(t, gullible);
  const sendable = TRICKS.filter((target) => /^[\x21-\x7e]+$/.test(target));
  for (const target of [...sendable, '/a?b', '/a?', '//a', '/a//b', '/%61', '/a/', '/\xc0\xae']) {
    const request = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, 'latin1');
    const text = await raw(t, port, request);
    assert.match(text, /^HTTP\/1\.1 40[04] /, target);
    assert.doesNotMatch(text, /secret/, target);
  }
  assert.equal(held, 0);
  // That it would.
  const plain = 'GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
  assert.match(await raw(t, port, plain), /^HTTP\/1\.1 200 .*secret$/s);
});
