import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, serving } from '../serve/http/harness.ts';
import { memorySite } from '../serve/sites.ts';

const SIZE = 5_000_000;

for (const [what, range] of [
  ['a thousand ranges (CVE-2011-3192)', `bytes=${Array.from({ length: 1000 }, (_, i) => `${i}-`).join(',')}`],
  [
    'seventeen tiny ranges',
    `bytes=${Array.from({ length: 17 }, (_, i) => `${i * 100}-${i * 100}`).join(',')}`,
  ],
  ['three whole files', 'bytes=0-,0-,0-'],
  ['two fields in one request', 'bytes=0-0, bytes=1-1'],
  ['a range that ends before it begins', 'bytes=9-3'],
] as const) {
  test(`${what}: 416 and not a byte read`, async (t) => {
    const site = memorySite({ '/f': Buffer.alloc(SIZE) });
    const { port } = await serving(t, site);
    const { status, headers } = await ask(port, '/f', { headers: { Range: range } });
    assert.equal(status, 416);
    assert.equal(headers['content-range'], `bytes */${SIZE}`);
    assert.equal(site.trace.opened, 0);
  });
}
