import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { link, open, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { openRegular } from '../../../src/files/measure.ts';
import type { Booter, BootScript, Machine } from '../../../src/machines/booter.ts';
import { bytesResource } from '../../../src/release/bytes-resource.ts';
import { fileResource } from '../../../src/release/file-resource.ts';
import { type PinnedFile, pinOf } from '../../../src/release/pin.ts';
import type { ServerEvent } from '../../../src/release/server-event.ts';
import type { Resource, Site } from '../../../src/release/site.ts';
import { withBootBegins } from '../../../src/serve/boot-begins.ts';
import { withEntries } from '../../../src/serve/entry-site.ts';
import type { Page } from '../../../src/serve/http/http-types.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { ask, dial, raw, serving, untilClosed } from './harness.ts';

/** The short way says what the long way says, and nothing where the long way would say no. */

const folder = await temporaryFolder();
const BASE = '/releases/arch/2026.11.01';
const SCRIPT = `${BASE}/boot.ipxe`;
const INITRD = `${BASE}/initrd.img`;
const GONE = `${BASE}/over`;
const CONTENT = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 31) & 0xff));
let count = 0;

/** A file that was verified a moment ago. */
async function verified(
  content: Uint8Array = CONTENT,
): Promise<{ path: string; file: PinnedFile; resource: Resource }> {
  count += 1;
  const path = join(folder, `file-${count}`);
  await writeFile(path, content);
  const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
  await utimes(path, whole, whole);
  const { handle, identity } = await openRegular(path);
  await handle.close();
  const sha256 = createHash('sha256').update(CONTENT).digest('hex');
  const file = { path, name: 'initrd.img', size: CONTENT.length, sha256, identity };
  return { path, file, resource: fileResource(file) };
}

interface AskedSite extends Site {
  /** How often the long way asked. */
  asked: number;
}

/** @param isShort whether it can say at once what stands somewhere. */
function siteOf(resources: ReadonlyMap<string, Resource | Refusal>, isShort: boolean): AskedSite {
  const absent = new Refusal('absent', 'It is not there.');
  const site: AskedSite = {
    asked: 0,
    async find(path) {
      site.asked += 1;
      return resources.get(path) ?? absent;
    },
    ...(isShort ? { known: (path: string) => resources.get(path) } : {}),
  };
  return site;
}

async function both(t: TestContext, more: readonly (readonly [string, Resource | Refusal])[] = []) {
  const { resource } = await verified();
  const resources = new Map<string, Resource | Refusal>([
    [SCRIPT, bytesResource('boot.ipxe', Buffer.from('#!ipxe\necho hello\n'), true)],
    [INITRD, resource],
    [GONE, new Refusal('expired', 'Its date has passed.')],
    ...more,
  ]);
  const page: Page = { handle: () => ({ status: 200, body: 'a page\n' }) };
  const pages = new Map([[`${BASE}/page`, page]]);
  const sites = { short: siteOf(resources, true), long: siteOf(resources, false) };
  const short = await serving(t, sites.short, {}, pages);
  const long = await serving(t, sites.long, {}, pages);
  // What was read once is held.
  await ask(long.port, INITRD);
  sites.long.asked = 0;
  return { short, long, sites };
}

/** All that comes back, but for the time. */
async function answer(t: TestContext, port: number, request: string): Promise<string> {
  return (await raw(t, port, request)).replace(/^Date: .*\r\n/m, '');
}

const PLAIN = 'Host: x\r\nConnection: close\r\n';
/** What the short way is for. */
const AT_ONCE: readonly (readonly [string, string])[] = [
  ['GET', PLAIN],
  ['HEAD', PLAIN],
  ['GET', `${PLAIN}User-Agent: iPXE/1.21.1\r\nAccept: */*\r\n`],
];
/** What it leaves to the long one. */
const LATER: readonly (readonly [string, string])[] = [
  ['GET', `${PLAIN}Range: bytes=1-3\r\n`],
  ['GET', `${PLAIN}Range: bytes=999999-\r\n`],
  ['HEAD', `${PLAIN}Range: bytes=1-3\r\n`],
  ['GET', `${PLAIN}If-None-Match: *\r\n`],
  ['GET', `${PLAIN}If-None-Match: "other"\r\n`],
  ['GET', `${PLAIN}If-Match: "other"\r\n`],
  ['GET', `${PLAIN}If-Range: "other"\r\nRange: bytes=1-3\r\n`],
  ['GET', `${PLAIN}X-Forwarded-For: 10.0.0.9\r\n`],
  ['GET', `${PLAIN}Content-Length: 3\r\n`],
  ['GET', `${PLAIN}X-Unheard-Of: 1\r\n`],
  ['GET', `${PLAIN}Host: y\r\n`],
  ['GET', 'Connection: close\r\n'],
  ['GET', 'Host: a b\r\nConnection: close\r\n'],
  ['POST', `${PLAIN}Content-Length: 0\r\n`],
  ['OPTIONS', PLAIN],
];

describe('what is held in memory is answered at once', () => {
  it('as it is answered by the long way, to the last byte', async (t) => {
    const { short, long, sites } = await both(t);
    for (const path of [SCRIPT, INITRD]) {
      for (const [method, fields] of AT_ONCE) {
        const request = `${method} ${path} HTTP/1.1\r\n${fields}\r\n`;
        const before = sites.short.asked;
        const said = await answer(t, short.port, request);
        assert.equal(sites.short.asked, before, request);
        assert.match(said, /^HTTP\/1\.1 200 OK\r\n/);
        assert.equal(said, await answer(t, long.port, request));
      }
      for (const [method, fields] of LATER) {
        const request = `${method} ${path} HTTP/1.1\r\n${fields}\r\n`;
        assert.equal(await answer(t, short.port, request), await answer(t, long.port, request), request);
      }
      const old = `GET ${path} HTTP/1.0\r\n\r\n`;
      assert.equal(await answer(t, short.port, old), await answer(t, long.port, old));
    }
    assert.equal(sites.short.asked, sites.long.asked - 2 * AT_ONCE.length);
  });

  it('by no other name, and nothing that the long way would not say', async (t) => {
    const { short, long } = await both(t);
    const names = [
      ...[`${SCRIPT}?direct`, `${SCRIPT}?`, `/${SCRIPT}`, `${BASE}//boot.ipxe`, `${BASE}/./boot.ipxe`],
      ...[`${BASE}/x/../boot.ipxe`, `${BASE}/boot%2eipxe`, `${SCRIPT}/`, `${SCRIPT}%00`, `http://x${SCRIPT}`],
      ...[GONE, `${BASE}/nothing`, `${BASE}/page`, '/', '/healthz'],
    ];
    for (const name of names) {
      const request = `GET ${name} HTTP/1.1\r\n${PLAIN}\r\n`;
      assert.equal(await answer(t, short.port, request), await answer(t, long.port, request), name);
    }
  });

  it('a page that stands there comes first, and a name that holds a token is refused', async (t) => {
    const resource = bytesResource('x', Buffer.from('not this\n'), true);
    const token = `${BASE}/bst_${'x'.repeat(40)}`;
    const { short, sites } = await both(t, [
      [`${BASE}/page`, resource],
      [token, resource],
    ]);
    assert.equal((await ask(short.port, `${BASE}/page`)).body.toString(), 'a page\n');
    assert.equal((await ask(short.port, token)).status, 400);
    assert.equal(sites.short.asked, 0);
  });

  it('and is told as the long way tells it', async (t) => {
    const { short, long } = await both(t);
    const told = async (server: typeof short, method: string) => {
      await ask(server.port, SCRIPT, { method });
      const fits = (event: { readonly asked: string; readonly method?: string }) =>
        event.asked === SCRIPT && event.method === method;
      const { id: _one, port: _ours, ...started } = await server.event('started', fits);
      const { id: _other, port: _its, durationMs, ...ended } = await server.event('ended', fits);
      assert.ok(durationMs >= 0);
      return [started, ended];
    };
    for (const method of ['GET', 'HEAD'])
      assert.deepEqual(await told(short, method), await told(long, method));
  });

  it('one after the other on one connection, and in order where they are sent at once', async (t) => {
    const { short } = await both(t);
    const socket = await dial(t, short.port);
    socket.write(
      `GET ${SCRIPT} HTTP/1.1\r\nHost: x\r\n\r\nGET ${INITRD} HTTP/1.1\r\nHost: x\r\n\r\n` +
        `HEAD ${SCRIPT} HTTP/1.1\r\n${PLAIN}\r\n`,
    );
    const text = await untilClosed(socket);
    const lengths = [...text.matchAll(/^Content-Length: (\d+)\r$/gm)].map(([, length]) => Number(length));
    assert.deepEqual(lengths, [18, CONTENT.length, 18]);
    assert.ok(text.includes(CONTENT.toString('latin1')));
    await short.event('ended', ({ method }) => method === 'HEAD');
    assert.equal(short.events.filter(({ kind }) => kind === 'started').length, 3);
    assert.equal(short.events.filter(({ kind }) => kind === 'ended').length, 3);
  });

  it('to whoever follows redirects only where nobody is sent elsewhere', async (t) => {
    const { resource } = await verified();
    const site = siteOf(new Map([[INITRD, resource]]), true);
    const steered: string[] = [];
    const server = await serving(t, site, {}, new Map(), {
      steer: ({ path, client }) => {
        steered.push(`${client} ${path}`);
        return undefined;
      },
    });
    const headers = { 'User-Agent': 'iPXE/1.21.1' };
    await ask(server.port, INITRD, { headers });
    await ask(server.port, INITRD, { headers });
    assert.deepEqual(steered, [`ipxe ${INITRD}`, `ipxe ${INITRD}`]);
    const before = site.asked;
    await ask(server.port, INITRD);
    assert.equal(site.asked, before);
  });
});

describe('what nobody took is not told as sent', () => {
  /** More than the buffers of two sockets hold. */
  const large = bytesResource('large', Buffer.alloc(128 * 1024 * 1024), true);
  const LARGE = `${BASE}/large`;
  const page: Page = { handle: () => ({ status: 200, body: Buffer.alloc(128 * 1024 * 1024) }) };

  for (const isShort of [true, false])
    for (const path of [LARGE, '/page'])
      for (const ending of ['client-gone', 'closed'] as const)
        it(`${ending}, ${path} by the ${isShort ? 'short' : 'long'} way`, async (t) => {
          const server = await serving(
            t,
            siteOf(new Map([[LARGE, large]]), isShort),
            {},
            new Map([['/page', page]]),
          );
          const socket = await dial(t, server.port);
          socket.pause();
          socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
          await once(socket, 'readable');
          if (ending === 'closed') await server.close({ graceMs: 0 });
          else socket.resetAndDestroy();
          const { outcome, bytes } = await server.event('ended');
          assert.deepEqual([outcome, bytes], [ending, 0]);
          assert.deepEqual(server.errors, []);
        });

  for (const isShort of [true, false])
    it(`and a server that closes lets it be taken, ${isShort ? 'short' : 'long'} way`, async (t) => {
      const server = await serving(t, siteOf(new Map([[LARGE, large]]), isShort));
      const socket = await dial(t, server.port);
      socket.pause();
      socket.write(`GET ${LARGE} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await once(socket, 'readable');
      const closed = server.close({ graceMs: 600_000 });
      let taken = 0;
      socket.on('data', ({ length }) => {
        taken += length;
      });
      await closed;
      const { outcome, bytes } = await server.event('ended');
      assert.deepEqual([outcome, bytes], ['complete', large.size]);
      if (!socket.closed) await once(socket, 'close');
      assert.ok(taken > large.size);
    });
});

it('what goes wrong on the short way ends a connection, and not the process', async (t) => {
  const { resource } = await verified();
  const broken = new Error('broken');
  const known = (): never => {
    throw broken;
  };
  const server = await serving(t, { ...siteOf(new Map([[INITRD, resource]]), false), known });
  assert.equal(await raw(t, server.port, `GET ${INITRD} HTTP/1.1\r\n${PLAIN}\r\n`), '');
  assert.equal((await server.event('fault')).error, broken);
  assert.equal((await ask(server.port, INITRD, { method: 'POST' })).status, 405);
});

describe('a machine’s script that is known without waiting is answered at once', () => {
  const MAC = '52-54-00-12-34-56';
  const NAMES = ['/boot.ipxe', `/boot.ipxe?mac=${MAC}`, `/entries/aarch64/grub.cfg?mac=${MAC}&serial=%20a`];
  const bootScript = (name: string): BootScript => ({
    name,
    bytes: Buffer.from(`#!ipxe\necho ${name}\n`),
    seal: Buffer.from(`seal of ${name}`),
  });
  const scripts = { ipxe: bootScript('boot.ipxe'), grub: bootScript('grub.cfg') };

  /** @param isShort whether the booter can say it at once, and of whom. */
  async function entries(t: TestContext, isShort: ((machine: Machine) => boolean) | undefined) {
    const seen: ServerEvent[] = [];
    const asked: Machine[] = [];
    const booter: Booter = {
      async boot(machine) {
        asked.push(machine);
        return machine.mac === '52:54:00:00:00:00'
          ? new Refusal('stale', 'Not now.')
          : scripts[machine.loader];
      },
      ...(isShort ? { known: (machine) => (isShort(machine) ? scripts[machine.loader] : undefined) } : {}),
    };
    const emit = (event: ServerEvent) => {
      seen.push(event);
    };
    const nothing: Site = { find: async () => new Refusal('absent', 'It is not there.') };
    const site = withBootBegins(withEntries(booter, nothing, undefined, emit), {
      ...{ emit, loaders: new Set<string>(), now: () => 0 },
    });
    const page: Page = { handle: () => ({ status: 200, body: 'a page\n' }) };
    const server = await serving(t, site, {}, new Map([['/entries/i386/boot.ipxe', page]]));
    return { server, asked, seen };
  }

  it('with its seal, to the last byte and event as by the long way', async (t) => {
    const short = await entries(t, () => true);
    const long = await entries(t, undefined);
    let later = 0;
    for (const name of [...NAMES, `/boot.ipxe.sig?mac=${MAC}`, '/channels/stable/boot.ipxe', '/boot.ipxe?']) {
      for (const [method, fields] of AT_ONCE) {
        const request = `${method} ${name} HTTP/1.1\r\n${fields}\r\n`;
        const said = await answer(t, short.server.port, request);
        assert.match(said, /^HTTP\/1\.1 200 OK\r\n/);
        assert.equal(said, await answer(t, long.server.port, request), request);
      }
      assert.equal(short.asked.length, later, name);
      for (const [method, fields] of LATER) {
        const request = `${method} ${name} HTTP/1.1\r\n${fields}\r\n`;
        assert.equal(await answer(t, short.server.port, request), await answer(t, long.server.port, request));
      }
      later = short.asked.length;
    }
    assert.deepEqual(short.seen, long.seen);
    assert.ok(short.seen.some(({ kind }) => kind === 'decided'));
    const told = ({ server }: typeof short) =>
      server.events.flatMap((event) =>
        event.kind === 'started' || event.kind === 'ended'
          ? [
              `${event.kind} ${event.method} ${event.asked} ${event.mac} ${'bytes' in event ? event.bytes : ''}`,
            ]
          : [],
      );
    assert.deepEqual(told(short), told(long));
  });

  it('and its beginning before it is decided', async (t) => {
    const { server, asked, seen } = await entries(t, () => true);
    await ask(server.port, `/boot.ipxe?mac=${MAC}`);
    assert.deepEqual(asked, []);
    assert.deepEqual(
      seen.map(({ kind }) => kind),
      ['decided', 'boot-began'],
    );
  });

  it('to nobody else: who is not known at once, where a page stands, and by no other name', async (t) => {
    const own = '52:54:00:12:34:56';
    const short = await entries(t, ({ mac }) => mac === own);
    const long = await entries(t, undefined);
    const names = [
      ...['/boot.ipxe?mac=52:54:00:00:00:00', '/boot.ipxe?mac=52:54:00:00:00:01', '/boot.ipxe'],
      ...[`/entries/i386/boot.ipxe?mac=${own}`, `//boot.ipxe?mac=${own}`, `/x/../boot.ipxe?mac=${own}`],
      ...[`/boot%2eipxe?mac=${own}`, `/nothing/boot.ipxe?mac=${own}`, `/boot.ipxe/?mac=${own}`],
    ];
    for (const name of names) {
      const request = `GET ${name} HTTP/1.1\r\n${PLAIN}\r\n`;
      assert.equal(
        await answer(t, short.server.port, request),
        await answer(t, long.server.port, request),
        name,
      );
    }
    // The name that needs decoding is the same name: it is known at once.
    assert.equal(short.asked.length, long.asked.length - 1);
  });
});

describe('a file that is held is compared with the disk before each answer', () => {
  const changes: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
    'written to': (path) => writeFile(path, Buffer.alloc(CONTENT.length, 'x')),
    'written to, and its times put back': async (path) => {
      const { atime, mtime } = await stat(path);
      const handle = await open(path, 'r+');
      await handle.write('X', 100);
      await handle.close();
      await utimes(path, atime, mtime);
    },
    'replaced by one of the same size': async (path) => {
      await writeFile(`${path}.new`, Buffer.alloc(CONTENT.length, 'x'));
      await rename(`${path}.new`, path);
    },
    'replaced by one of the same size and times': async (path) => {
      const { atime, mtime } = await stat(path);
      await writeFile(`${path}.new`, Buffer.alloc(CONTENT.length, 'x'));
      await rename(`${path}.new`, path);
      await utimes(path, atime, mtime);
    },
    'replaced by its own content': async (path) => {
      await writeFile(`${path}.new`, CONTENT);
      await rename(`${path}.new`, path);
    },
    'replaced by a link': async (path) => {
      await rename(path, `${path}.moved`);
      await symlink(`${path}.moved`, path);
    },
    'taken away': (path) => rm(path),
  };
  for (const [what, change] of Object.entries(changes))
    it(what, async (t) => {
      const { path, resource } = await verified();
      const site = siteOf(new Map([[INITRD, resource]]), true);
      const server = await serving(t, site);
      for (const expected of [1, 1, 1]) {
        assert.deepEqual((await ask(server.port, INITRD)).body, CONTENT);
        assert.equal(site.asked, expected);
      }
      await change(path);
      for (const method of ['GET', 'HEAD', 'GET']) {
        const { status, body } = await ask(server.port, INITRD, { method });
        assert.equal(status, 503, method);
        if (method === 'GET') assert.match(body.toString(), /^drifted: /);
      }
      assert.equal((await server.event('refused')).refusal.code, 'drifted');
    });

  it('on a connection that was open before it was changed', async (t) => {
    const { path, resource } = await verified();
    const server = await serving(t, siteOf(new Map([[INITRD, resource]]), true));
    await ask(server.port, INITRD);
    const socket = await dial(t, server.port);
    const request = `GET ${INITRD} HTTP/1.1\r\nHost: x\r\n\r\n`;
    socket.write(request);
    await server.event('ended', ({ port }) => port === socket.localPort);
    await writeFile(path, Buffer.alloc(CONTENT.length, 'x'));
    socket.write(request.replace('Host: x', `Host: x\r\nConnection: close`));
    const text = await untilClosed(socket);
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(text, /HTTP\/1\.1 503 Service Unavailable\r\n/);
    assert.ok(!text.includes('xxxxxxxx'));
  });

  it('and it is given no more once reading it anew found other bytes, whatever its times say', async (t) => {
    const { file, resource } = await verified();
    const site = siteOf(new Map([[INITRD, resource]]), true);
    const server = await serving(t, site);
    for (const _ of [1, 2]) assert.deepEqual((await ask(server.port, INITRD)).body, CONTENT);
    assert.equal(site.asked, 1);
    // As a scrub does, that reads what a failing disk gives back.
    assert.throws(() => pinOf(file).demandContent(Buffer.alloc(CONTENT.length)), { code: 'bad-signature' });
    for (const _ of [1, 2]) {
      const { status, body } = await ask(server.port, INITRD);
      assert.equal(status, 403);
      assert.match(body.toString(), /^bad-signature: /);
    }
  });

  it('and one that only got another link is read anew, and served', async (t) => {
    const { path, resource } = await verified();
    const site = siteOf(new Map([[INITRD, resource]]), true);
    const server = await serving(t, site);
    await ask(server.port, INITRD);
    await link(path, `${path}.other`);
    assert.deepEqual((await ask(server.port, INITRD)).body, CONTENT);
    assert.equal(site.asked, 2);
    assert.deepEqual((await ask(server.port, INITRD)).body, CONTENT);
    assert.equal(site.asked, 2);
  });

  it('a disk that gives other bytes than were verified is found out before they are all gone', async (t) => {
    const { resource } = await verified(Buffer.alloc(CONTENT.length, 'r'));
    const server = await serving(t, siteOf(new Map([[INITRD, resource]]), true));
    for (const _ of [1, 2]) {
      const { status, body } = await ask(server.port, INITRD);
      assert.equal(status, 403);
      assert.match(body.toString(), /^bad-signature: /);
    }
  });
});
