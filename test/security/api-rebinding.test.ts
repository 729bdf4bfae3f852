import assert from 'node:assert/strict';
import { it } from 'node:test';
import { bearer, desk, FORM_TYPE, JSON_TYPE, tokenOf } from '../server/access/desk.ts';

/**
 * A page whose owner lets its name point at this server (DNS rebinding): to the browser it is of one origin with it, and may
 * read answers. The one thing that it cannot change is the name in Host.
 */

const OWN = [
  '127.0.0.1',
  '127.0.0.1:8080',
  '[::1]:8080',
  '10.9.8.7',
  'localhost',
  'LocalHost:1',
  'netboot.example:80',
];
const FOREIGN = [
  'evil.example',
  'evil.example:8080',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  'localhost.',
  'netboot.example.evil.example',
  'notnetboot.example',
  '127.1',
  '0x7f000001',
  '2130706433',
  '[127.0.0.1]',
];

it('reads nothing, writes nothing and signs nobody in', async (t) => {
  const site = await desk(t, { hosts: ['netboot.example'] });
  await site.give({ ops: ['arm'] });
  const asks = (Host: string) =>
    [
      ['/api/v1/thing', {}],
      ['/api/v1/thing', { headers: bearer('ops') }],
      ['/api/v1/thing', { method: 'POST', headers: { ...JSON_TYPE, ...bearer('ops') }, body: '{}' }],
      ['/api/v1/session', { method: 'POST', headers: { ...FORM_TYPE }, body: `token=${tokenOf('ops')}` }],
      ['/api/v1/session', { method: 'DELETE' }],
    ].map(async ([path, asked]) => {
      const { headers, ...rest } = asked as { headers?: object };
      return (await site.ask(path as string, { ...rest, headers: { ...headers, Host } })).status;
    });
  for (const host of FOREIGN)
    assert.deepEqual(await Promise.all(asks(host)), [421, 421, 421, 421, 421], host);
  for (const host of OWN) assert.deepEqual(await Promise.all(asks(host)), [200, 200, 200, 303, 204], host);
});

it('keeps no machine from its boot files, which may use any name', async (t) => {
  const site = await desk(t);
  for (const Host of FOREIGN.slice(0, 5))
    assert.equal((await site.ask('/boot.ipxe', { headers: { Host } })).text, '#!ipxe\n', Host);
});
