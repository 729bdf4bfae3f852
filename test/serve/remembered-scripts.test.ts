import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Booter, BootScript } from '../../src/machines/booter.ts';
import type { Site } from '../../src/release/site.ts';
import { withEntries } from '../../src/serve/entry-site.ts';
import { RememberedScripts } from '../../src/serve/remembered-scripts.ts';

const script = (text: string): BootScript => ({
  name: 'boot.ipxe',
  bytes: Buffer.from(text),
  seal: Buffer.from(`seal of ${text}`),
});
const nothing: Site = { find: async () => new Refusal('absent', 'There is nothing.', {}) };
const QUERY = new URLSearchParams('mac=52-54-00-00-00-0a');

async function read(site: Site, path: string, remote: string, query = QUERY): Promise<string> {
  const found = await site.find(path, { remote, query });
  if (found instanceof Refusal) return found.code;
  const open = await found.open();
  const buffer = Buffer.alloc(found.size);
  await open.read(buffer, 0);
  await open.close();
  return buffer.toString();
}

it('whoever got a script gets the seal of that very one, for a minute', async () => {
  let now = 0;
  let current: BootScript | Refusal = script('one');
  const booter: Booter = { boot: async () => current };
  const site = withEntries(booter, nothing, new RememberedScripts(() => now));
  assert.equal(await read(site, '/boot.ipxe', '10.0.0.1'), 'one');
  current = script('two');
  assert.equal(await read(site, '/boot.ipxe.sig', '10.0.0.1'), 'seal of one');
  // Another address, another machine, and another place are asked about anew.
  assert.equal(await read(site, '/boot.ipxe.sig', '10.0.0.2'), 'seal of two');
  assert.equal(await read(site, '/boot.ipxe.sig', '10.0.0.1', new URLSearchParams()), 'seal of two');
  assert.equal(await read(site, '/channels/stable/boot.ipxe.sig', '10.0.0.1'), 'seal of two');
  now = 60_001;
  assert.equal(await read(site, '/boot.ipxe.sig', '10.0.0.1'), 'seal of two');
});

it('what has ended has no seal any more, whoever holds its script', async () => {
  let current: BootScript | Refusal = script('one');
  const site = withEntries({ boot: async () => current }, nothing, new RememberedScripts(() => 0));
  assert.equal(await read(site, '/boot.ipxe', '10.0.0.1'), 'one');
  current = new Refusal('stale', 'It has ended.', {});
  assert.equal(await read(site, '/boot.ipxe.sig', '10.0.0.1'), 'stale');
});

it('is bounded, however many ask', () => {
  const remembered = new RememberedScripts(() => 0);
  for (let at = 0; at < 10_000; at += 1) remembered.given(String(at), script(String(at)));
  assert.equal(remembered.find('0'), undefined);
  assert.ok(remembered.find('9999'));
  remembered.given('x'.repeat(5000), script('long'));
  assert.equal(remembered.find('x'.repeat(5000)), undefined);
});
