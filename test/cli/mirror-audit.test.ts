import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { it } from 'node:test';
import { decodeMirrorHealth } from '../../src/formats/records/mirror-health.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { mirrorSite } from '../fixtures/mirror-site.ts';
import { run } from './command.ts';

const folder = await temporaryFolder();
const site = await mirrorSite(folder);
const server = createServer((req, res) => {
  readFile(join(site.fresh, decodeURIComponent(req.url ?? ''))).then(
    (bytes) => res.end(bytes),
    () => res.writeHead(404).end(),
  );
});
await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const words = (...more: string[]) => [
  'mirror',
  'audit',
  '--channel',
  'stable',
  '--anchors',
  site.anchors,
  ...more,
];

it('says what it found, writes it for a server, and ends with a status of its own', async (t) => {
  t.after(() => server.close());
  const out = join(folder, 'health');
  // The fixtures' snapshot ended long ago.
  const stale = await run(words(url, '--freshness', '--json', '--out', out));
  const { newest, mirrors } = JSON.parse(stale.out) as {
    newest: number;
    mirrors: readonly { readonly verdict: string; readonly counter: number }[];
  };
  assert.deepEqual([stale.code, newest, mirrors[0]?.verdict, mirrors[0]?.counter], [1, 2, 'stale', 2]);
  assert.deepEqual(decodeMirrorHealth(await readFile(out)).mirrors, [
    { url, verdict: 'stale', releases: [] },
  ]);

  const table = await run(words(url));
  assert.equal(table.code, 1);
  assert.match(table.out, /stale by \d+ days/);
  assert.match(table.out, /1 of 8 ranges of 33 kB .* is caught with 12\.5 % at least/);
  assert.match(table.out, /NOT VERIFIED: 1 of 1 mirror of stable, whose newest snapshot is 2\./);

  const gone = await run(words('http://127.0.0.1:9/', '--freshness'));
  assert.equal(gone.code, 3, gone.out);
  for (const more of [
    [],
    [url, '--freshness', '--complete'],
    ['ftp://a/'],
    [url, '--sample', '200%'],
    [url, '--range', 'x'],
  ])
    assert.equal((await run(words(...more))).code, 2, more.join(' '));
});
