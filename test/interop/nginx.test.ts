import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { freePorts } from '../../lab/nginx.ts';
import { startWebServer } from '../../lab/web-server.ts';
import { verifyAs } from '../../src/conformance/verify-as.ts';
import { boot } from '../../src/operations/boot.ts';
import { rollbackChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

/** The configurations of docs/web-servers.md, in Debian's nginx. */

const DOCUMENT = await readFile('docs/web-servers.md', 'utf8');
/** GRUB's configuration names a port, and the releases are sealed for this one. */
const [PORT = 0] = await freePorts(1);
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const given = { channel: 'stable', state, anchors, now: NOW, snapshotKey: keys };
/** Of manifests, by version. */
const digests = new Map<string, string>();
for (const version of ['2026.11.01', '2026.11.02']) {
  const tree = await sampleTree(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  // More than two slices.
  await writeFile(join(tree, ROOTFS), Buffer.alloc(2.5 * 1024 * 1024, `hsqs\0\xff${version}`, 'latin1'));
  digests.set(version, (await sealFixture(tree, keys, { url: `http://127.0.0.1:${PORT}` })).manifestSha256);
}
execFileSync('chmod', ['755', folder]);
const first = await publish({ ...given, tree: join(folder, '2026.11.01') });
assert.equal(first.refusal, undefined);
const BASE = '/releases/arch/2026.11.01';

/** A piece of the document, with names of this test in the place of those that it has. */
function piece(language: string, replaced: Readonly<Record<string, string>>): string {
  const [, found] = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'ms').exec(DOCUMENT) ?? [];
  assert.ok(found, language);
  let text = found;
  for (const [from, to] of Object.entries(replaced)) {
    assert.ok(text.includes(from), `${language}: ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const beside = (root: string) =>
  startWebServer(
    (port) =>
      piece('nginx beside', { 'listen 8080;': `listen 127.0.0.1:${port};`, '/var/lib/bootseal/www': root }),
    PORT,
  );

/** The emulated machine, whose loader trusts the site's CA, ends in the root of that release. */
async function demandBoots(url: string, version = '2026.11.01'): Promise<void> {
  const verdict = await boot({ url: `${url}/boot.ipxe`, anchors: keys, now: NOW });
  assert.equal(verdict.refusal, undefined, verdict.refusal?.message);
  assert.ok(verdict.verified);
  assert.ok(verdict.cmdline?.endsWith(`bootseal.manifest=${digests.get(version)}`), verdict.cmdline);
}

/** So does each client of `verify --as`. */
async function demandClients(url: string): Promise<void> {
  const rows = await verifyAs({ target: `${url}/`, anchors, now: NOW });
  assert.deepEqual(
    rows.map(({ client, refusal }) => [client, refusal?.message]),
    rows.map(({ client }) => [client, undefined]),
  );
  assert.ok(rows.length >= 5);
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
}

async function get(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, { headers });
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, bytes };
}

const image = await readFile(join(folder, '2026.11.01', ROOTFS));
/** In the second slice, and over its end. */
const RANGE = { range: `bytes=${1_500_000}-${2_200_000}` };

async function demandWeb(url: string): Promise<void> {
  const part = await get(`${url}${BASE}/${ROOTFS}`, RANGE);
  assert.deepEqual([part.status, part.bytes.equals(image.subarray(1_500_000, 2_200_001))], [206, true]);
  const whole = await get(`${url}${BASE}/${ROOTFS}`);
  assert.ok(whole.bytes.equals(image));
  assert.equal(Number(whole.headers.get('content-length')), image.length);
  assert.equal(whole.headers.get('cache-control'), 'public, max-age=31536000, immutable');
  for (const path of [
    '/boot.ipxe',
    '/boot.ipxe.sig',
    '/grub.cfg',
    '/channels/stable',
    '/channels/stable.cms.sig',
  ]) {
    const { status, headers, bytes } = await get(`${url}${path}`);
    assert.deepEqual([path, status, headers.get('cache-control')], [path, 200, 'no-cache']);
    // GRUB waits for a length.
    assert.equal(Number(headers.get('content-length')), bytes.length, path);
  }
  for (const path of [
    `${BASE}/arch`,
    `${BASE}/nothing`,
    '/private/',
    '/../private/snapshot.key',
    '/.bootseal-x.tmp',
  ])
    assert.notEqual((await get(`${url}${path}`)).status, 200, path);
}

describe('nginx beside, with nothing of ours running', () => {
  it('boots the emulated machine from STATE/www, and every client takes what is there', async (t) => {
    const nginx = await beside(join(state, 'www'));
    t.after(() => nginx.close());
    await demandBoots(nginx.url);
    await demandClients(nginx.url);
    await demandWeb(nginx.url);
  });

  it('goes with the channel, forward and back, without a word to nginx', async (t) => {
    const nginx = await beside(join(state, 'www'));
    t.after(() => nginx.close());
    const before = await get(`${nginx.url}/boot.ipxe`);
    await publish({ ...given, tree: join(folder, '2026.11.02') });
    await demandBoots(nginx.url, '2026.11.02');
    const etag = before.headers.get('etag') ?? '';
    const dated = before.headers.get('last-modified') ?? '';
    await rollbackChannel({ ...given, release: 'arch/2026.11.01' });
    await demandBoots(nginx.url);
    // Of who has the newer one, whose date is later.
    const now = await get(`${nginx.url}/boot.ipxe`, { 'if-none-match': etag, 'if-modified-since': dated });
    assert.equal(now.status, 304);
    const other = new Date(Date.parse(dated) + 3_600_000).toUTCString();
    assert.equal((await get(`${nginx.url}/boot.ipxe`, { 'if-modified-since': other })).status, 200);
  });

  it('boots from the copy that rsync makes', async (t) => {
    const mirror = join(folder, 'mirror');
    await mkdir(mirror);
    const env = { ...process.env, STATE: state, MIRROR: mirror };
    for (let turn = 0; turn < 2; turn += 1) execFileSync('sh', ['-euc', piece('sh rsync', {})], { env });
    const nginx = await beside(mirror);
    t.after(() => nginx.close());
    await demandBoots(nginx.url);
    await demandClients(nginx.url);
  });
});

describe('nginx in front', () => {
  it('boots the emulated machine, and every client takes what comes through', async (t) => {
    const { nginx } = await front(t);
    await demandBoots(nginx.url);
    await demandClients(nginx.url);
    await demandWeb(nginx.url);
  });

  it('asks for each slice once, and gives it to all', async (t) => {
    const { nginx } = await front(t);
    const url = `${nginx.url}${BASE}/${ROOTFS}`;
    const parts = await Promise.all(Array.from({ length: 8 }, () => get(url, RANGE)));
    for (const { bytes } of parts) assert.ok(bytes.equals(image.subarray(1_500_000, 2_200_001)));
    assert.ok((await get(url)).bytes.equals(image));
    const before = (await nginx.log()).length;
    assert.ok((await get(url)).bytes.equals(image));
    // Written when the answer is over, which the client knows a little earlier.
    let lines = await nginx.log();
    while (lines.length === before) lines = await nginx.log();
    assert.match(lines.at(-1) ?? '', /^200 HIT /);
  });

  it('goes on giving what it has while Bootseal is down, and asks for scripts all the same', async (t) => {
    const { nginx, server } = await front(t);
    const url = `${nginx.url}${BASE}/${ROOTFS}`;
    assert.ok((await get(url)).bytes.equals(image));
    await server.close(0);
    assert.ok((await get(url)).bytes.equals(image));
    assert.equal((await get(`${nginx.url}/boot.ipxe`)).status, 502);
  });

  it('passes on who asks, and nothing that a client says of that', async (t) => {
    const { nginx, events } = await front(t);
    const heard = new Promise<ServerEvent>((resolve) => events.add(resolve));
    await get(`${nginx.url}${BASE}/release.manifest`, { 'x-forwarded-for': '192.0.2.66' });
    const event = await heard;
    assert.match(JSON.stringify(event), /"remote":"127\.0\.0\.1"/);
  });
});

/** The server of the state, and nginx before it as the page says. */
async function front(t: TestContext) {
  const events = new Set<(event: ServerEvent) => void>();
  const server = await serve({
    ...{ state, anchors, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false },
    configuration: { trusted_proxies: ['127.0.0.1'] },
    onEvent: (event) => {
      for (const tell of events) tell(event);
    },
  });
  let open = true;
  const close = server.close.bind(server);
  t.after(async () => {
    if (open) await close(0);
  });
  const cache = await mkdtemp(join(folder, 'cache-'));
  const nginx = await startWebServer(
    (port) =>
      piece('nginx front', {
        'listen 8080;': `listen 127.0.0.1:${port};`,
        '127.0.0.1:8081': new URL(server.url).host,
        '/var/cache/nginx/bootseal': cache,
      }),
    PORT,
  );
  t.after(() => nginx.close());
  return {
    nginx,
    events,
    server: {
      close: async (grace: number) => {
        open = false;
        await close(grace);
      },
    },
  };
}
