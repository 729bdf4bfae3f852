import assert from 'node:assert/strict';
import { appendFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { addToken } from '../../src/operations/tokens.ts';
import { rollbackChannel } from '../../src/publish/channel.ts';
import type { Serving } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { type PageSite, pageSite, STABLE, TESTING } from '../fixtures/page-site.ts';
import { KERNEL } from '../fixtures/release.ts';
import { SeenMachine } from '../fixtures/seen-boots.ts';
import { EventReader, type ReadEvent } from './event-reader.ts';
import { hearing } from './hearing.ts';

const DAY = 86_400_000;
const site: PageSite = await pageSite(await temporaryFolder());

/** A server on which something has happened already. */
async function busy(t: TestContext): Promise<{ server: Serving; get: (path: string) => Promise<string> }> {
  const server = await site.serve();
  t.after(() => server.close(0));
  const { boots } = server;
  new SeenMachine(boots, 1, STABLE).dhcp().script().kernel().initrd().userspace().verified(['all is well']);
  new SeenMachine(boots, 2, STABLE)
    .dhcp()
    .script()
    .kernel()
    .initrd()
    .refused('wrong-command-line', 'It holds break=premount.', ['last words']);
  new SeenMachine(boots, 3, TESTING).dhcp().script().kernel();
  new SeenMachine(boots, 4, STABLE).dhcp().script().local();
  await boots.settled();
  return {
    server,
    get: async (path) => {
      const response = await fetch(server.url + path);
      assert.equal(response.status, 200, path);
      assert.match(
        response.headers.get('content-security-policy') ?? '',
        /^default-src 'none'; style-src 'self'/,
      );
      return response.text();
    },
  };
}

const textOf = (page: string): string => page.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');

it('the overview tells what counts at a glance', async (t) => {
  const { get } = await busy(t);
  const text = textOf(await get('/'));
  assert.match(text, /arch\/2026\.11\.01 machines boot it verified under the site’s anchors/);
  assert.match(text, /unverified loaders are refused/);
  assert.match(text, /Verified today 50 % 1 of 2 boots of a release say that all was verified\. They ended/);
  assert.match(text, /1 verified \(claimed\) 1 own disk 1 running 1 REFUSED/);
  assert.match(text, /In progress 1 1 machine boots 1 kernel/);
  assert.match(text, /To look at 1 1 boot refused, failed or stalled/);
  assert.match(
    text,
    /wrong-command-line REFUSED at initrd 1 boot 1 machine .* It holds break=premount\. Its command line holds words that nobody signed/,
  );
  assert.match(text, /This server ready follows its state receipts are written/);
});

it('what the overview leaves out is one click away, without script', async (t) => {
  const { get } = await busy(t);
  const home = await get('/');
  const links = [...home.matchAll(/href="(\/ui\/[^"]+)"/g)].map(([, href = '']) =>
    href.replaceAll('&amp;', '&'),
  );
  const pages = new Map<string, string>();
  for (const href of new Set(links)) pages.set(href, textOf(await get(href)));
  const release = pages.get(`/ui/releases/${STABLE}`) ?? '';
  assert.match(release, /arch\/boot\/x86_64\/vmlinuz-linux loader its seal/, 'who verifies');
  assert.match(
    release,
    /vmlinuz-linux kernel 262,144 [0-9a-f]{16}… \.ipxe\.sig , \.cms\.sig , \.sig/,
    'files and seals',
  );
  assert.match(release, /release\.manifest/);
  assert.match(pages.get('/ui/channels') ?? '', /stable the entry arch\/2026\.11\.01 x86_64/);
  assert.match(
    pages.get('/ui/machines') ?? '',
    /52:54:00:00:01:01 what the channel names no group verified \(claimed\)/,
  );
  assert.match(pages.get('/ui/keys') ?? '', /best-before arch\/2026\.11\.01/);
  assert.match(pages.get('/ui/quarantine') ?? '', /Every file that is served is the one that was verified\./);
});

it('a boot has a page with its stages, its reason, what to do, and what it said', async (t) => {
  const { server, get } = await busy(t);
  const [refused] = await server.boots.find({ failed: true, machine: '52:54:00:00:01:02' }, 1);
  const text = textOf(await get(`/ui/boots/${refused?.boot}`));
  assert.match(text, /52:54:00:00:01:02 REFUSED/);
  assert.match(text, /wrong-command-line It holds break=premount\. as the machine says \(claimed\)/);
  assert.match(text, /look at what its loader, or its menu, adds/);
  assert.match(
    text,
    /kernel \+\d+ ms \d+ ms 8\.2 MB complete by its card \/releases\/arch\/2026\.11\.01\/arch\/boot/,
  );
  assert.match(text, /Its console claimed last words/);
  assert.equal((await fetch(`${server.url}/ui/boots/00000000-00000000`)).status, 404);
  assert.equal((await fetch(`${server.url}/ui/nothing`)).status, 404);
});

it('boots are found by what is asked for, a page at a time; what is no question is said', async (t) => {
  const { server, get } = await busy(t);
  const shown = async (query: string) =>
    [...(await get(`/ui/boots?${query}`)).matchAll(/id="row-([^"]+)"/g)].map(([, id]) => id);
  assert.equal((await shown('')).length, 4);
  assert.equal((await shown('failed=1')).length, 1);
  assert.equal((await shown('outcome=local')).length, 1);
  assert.equal((await shown(`release=${TESTING}`)).length, 1);
  assert.equal((await shown('machine=52-54-00-00-01-04&outcome=&release=&since=')).length, 1);
  assert.equal((await shown('since=2026-11-02T00:00:00Z')).length, 0);
  assert.match(textOf(await get('/ui/boots?outcome=lucky')), /&quot;lucky&quot; is no outcome of a boot\./);
  for (let number = 10; number < 80; number += 1) new SeenMachine(server.boots, number, STABLE).dhcp();
  const first = await get('/ui/boots');
  const [, next = ''] = /rel="next" href="([^"]+)"/.exec(first) ?? [];
  const second = await get(next.replaceAll('&amp;', '&'));
  const ids = [first, second].flatMap((page) => [...page.matchAll(/id="row-([^"]+)"/g)].map(([, id]) => id));
  assert.equal(ids.length, 74);
  assert.equal(new Set(ids).size, 74, 'none is shown twice');
});

it('a file that was changed is told at once: the page says no more that machines boot it, and open tabs are told', async (t) => {
  const own = await pageSite(await temporaryFolder());
  const { log, heard } = hearing();
  const server = await own.serve({ log });
  t.after(() => server.close(0));
  assert.match(await (await fetch(server.url)).text(), /machines boot it/);
  const reader = await EventReader.open(t, `${server.url}/api/v1/events?of=page,state`);
  const path = join(own.state, 'releases', STABLE, KERNEL);
  await chmod(path, 0o644);
  await appendFile(path, 'x');
  await heard('a file is not what was verified, and is not served');
  const drifted = ({ event, data }: ReadEvent) =>
    event === 'page' && /it cannot be booted: 1 file is not what was verified/.test(data.pieces.state ?? '');
  await reader.next(drifted);
  const page = textOf(await (await fetch(server.url)).text());
  const [head = ''] = page.split('Verified today');
  assert.doesNotMatch(head, /machines boot it/);
  assert.match(head, /it cannot be booted: 1 file is not what was verified/);
  assert.match(
    page,
    new RegExp(`a file of ${STABLE} is not what was verified, and is not served: ${KERNEL}`),
  );
  // Both releases hold the same kernel: one object of the state.
  const ready = await fetch(`${server.url}/readyz`);
  assert.equal(ready.status, 503);
  assert.match(
    await ready.text(),
    /No machine boots: files are not what was verified.*publish, pull or import arch/,
  );
  assert.match(
    textOf(await (await fetch(`${server.url}/ui/quarantine`)).text()),
    new RegExp(`${KERNEL} ${STABLE}`),
  );
  assert.match(textOf(await (await fetch(`${server.url}/ui/releases/${STABLE}`)).text()), /not served/);
});

it('a channel that moves, and a date that passes, are told to open tabs', async (t) => {
  const own = await pageSite(await temporaryFolder());
  let now = NOW;
  const server = await own.serve({ clock: () => now });
  t.after(() => server.close(0));
  const reader = await EventReader.open(t, `${server.url}/api/v1/events?of=page,state`);
  await own.move('stable', '2026.11.05');
  await reader.next(
    ({ event, data }) => event === 'page' && /arch\/2026\.11\.05/.test(data.pieces.state ?? ''),
  );
  await rollbackChannel({
    ...{ state: own.state, anchors: own.anchors, now: NOW, snapshotKey: own.keys },
    ...{ channel: 'stable', release: STABLE },
  });
  const state = await reader.next(({ event, data }) => event === 'state' && data.entry === STABLE);
  assert.equal(state.data.channels.stable, 3);
  assert.match(
    textOf(await (await fetch(`${server.url}/ui/channels`)).text()),
    /rolled back from arch\/2026\.11\.05/,
  );
  now = NOW + 91 * DAY;
  await reader.next(
    ({ event, data }) =>
      event === 'page' &&
      /new boots have ended: arch\/2026\.11\.01 was best before/.test(data.pieces.state ?? ''),
  );
  const page = textOf(await (await fetch(server.url)).text());
  assert.match(page, /new boots have ended: arch\/2026\.11\.01 was best before/);
  assert.match(page, /not ready/);
});

it('style and script are fetched once: their names hold their digests', async (t) => {
  const { server, get } = await busy(t);
  const page = await get('/');
  for (const [, path = ''] of page.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)) {
    const response = await fetch(server.url + path);
    assert.match(response.headers.get('cache-control') ?? '', /immutable/);
    const plain = await fetch(server.url + path.replace(/-[0-9a-f]{12}/, ''));
    assert.equal(await plain.text(), await response.text());
    assert.equal(plain.headers.get('cache-control'), 'no-cache');
  }
  assert.equal((await fetch(`${server.url}/assets/bootseal-000000000000.css`)).status, 404);
});

it('a tree has pages, too: nobody vouches for it, and that is said', async (t) => {
  const server = await site.serve({
    ...{ state: undefined, anchors: undefined, channel: undefined },
    tree: join(site.folder, '2026.11.01'),
    configuration: { allow_unverified_loaders: true },
  } as never);
  t.after(() => server.close(0));
  const page = textOf(await (await fetch(server.url)).text());
  assert.match(page, /unanchored: seals agree, nobody vouches for them/);
  assert.match(page, /UNVERIFIED loaders are allowed/);
  for (const path of [
    'boots',
    'machines',
    'releases',
    `releases/${STABLE}`,
    'channels',
    'keys',
    'quarantine',
  ])
    assert.equal((await fetch(`${server.url}/ui/${path}`)).status, 200, path);
});

it('who has signed in with the scope arm is offered to arm a machine, and nobody else can', async (t) => {
  const { server, get } = await busy(t);
  const { secret } = await addToken({ state: site.state, name: 'armer', scopes: ['read', 'arm'], now: NOW });
  const path = '/ui/machines/52-54-00-00-01-01';
  assert.doesNotMatch(await get(path), /<form method="post"|class="danger"/);
  const headers = { Origin: server.url, 'Content-Type': 'application/json' };
  const signed = await fetch(`${server.url}/api/v1/session`, {
    ...{ method: 'POST', headers, body: JSON.stringify({ token: secret }) },
  });
  const { csrf } = (await signed.json()) as { csrf: string };
  const cookie = (signed.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  const page = await (await fetch(server.url + path, { headers: { Cookie: cookie } })).text();
  assert.match(page, /<form class="filter" method="post" action="\/ui\/machines\/52-54-00-00-01-01">/);
  const send = (fields: Readonly<Record<string, string>>) =>
    fetch(server.url + path, {
      ...{ method: 'POST', redirect: 'manual', body: new URLSearchParams(fields) },
      headers: { Cookie: cookie, Origin: server.url },
    });
  const wanted = { act: 'arm', release: STABLE, afterwards: 'local', sure: '1' };
  assert.equal((await send(wanted)).status, 403, 'not by a page of this session');
  assert.equal((await send({ ...wanted, csrf: 'guessed' })).status, 403);
  assert.equal((await send({ ...wanted, csrf, sure: '' })).status, 400);
  const waits = await send({ ...wanted, csrf });
  assert.equal(waits.status, 202);
  assert.match(
    textOf(await waits.text()),
    /It waits for a signature .*bootseal machines arm 52:54:00:00:01:01/,
  );
  assert.equal((await send({ act: 'disarm', csrf })).status, 303);
});
