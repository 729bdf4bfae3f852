import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { encodeMirrorHealth, type MirrorHealth } from '../../src/formats/records/mirror-health.ts';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { CONFIGURATION } from '../../src/server/configuration.ts';
import { type Serving, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { mirrorSite, NEW } from '../fixtures/mirror-site.ts';
import { INITRD, KERNEL, ROOTFS } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const site = await mirrorSite(folder);
const manifest = createHash('sha256')
  .update(await readFile(join(site.fresh, 'releases', NEW, 'release.manifest')))
  .digest('hex');
const path = (name: string) => `/releases/${NEW}/${name}`;
const HOUR = 3_600_000;
const A = 'http://a.example.org/netboot/';
const B = 'http://b.example.org/';
const IPXE = 'iPXE/1.21.1+ (g4bd064de)';
const CURL = 'curl/7.88.1';
let files = 0;

type Listed = MirrorHealth['mirrors'][number];
const verified = (url: string): Listed => ({
  url,
  verdict: 'verified',
  releases: [{ release: NEW, manifest }],
});

interface Site {
  readonly server: Serving;
  readonly events: ServerEvent[];
  readonly get: (name: string, agent?: string, more?: Record<string, string>) => Promise<Response>;
}

async function started(
  t: TestContext,
  mirrors: readonly object[],
  health: readonly Listed[],
  { audited = site.now - HOUR, ...more }: { audited?: number } & Record<string, unknown> = {},
): Promise<Site> {
  files += 1;
  const file = join(folder, `health-${files}`);
  await writeFile(file, encodeMirrorHealth({ channel: 'stable', audited, mirrors: health }));
  const events: ServerEvent[] = [];
  const server = await serve({
    state: site.fresh,
    anchors: site.anchors,
    clock: () => site.now,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    configuration: CONFIGURATION.parse({ mirrors, steering: { health: [file], least_kib: 100 }, ...more }),
    onEvent: (event) => events.push(event),
  });
  t.after(() => server.close(0));
  t.after(() => rm(file, { force: true }));
  const get = async (name: string, agent?: string, fields: Record<string, string> = {}) => {
    const headers = { ...(agent === undefined ? {} : { 'User-Agent': agent }), ...fields };
    const answer = await fetch(server.url + (name.startsWith('/') ? name : path(name)), {
      redirect: 'manual',
      headers,
    });
    await answer.arrayBuffer();
    return answer;
  };
  return { server, events, get };
}

describe('steering', () => {
  it('sends iPXE for kernels and early userspace for the root image, and tells of it', async (t) => {
    const { get, events, server } = await started(t, [{ url: A }], [verified(A)]);
    for (const [name, agent] of [
      [KERNEL, IPXE],
      [ROOTFS, 'bootseal-early'],
    ] as const) {
      const answer = await get(name, agent);
      assert.deepEqual(
        [answer.status, answer.headers.get('location'), answer.headers.get('cache-control')],
        [302, `${A}${path(name).slice(1)}`, 'no-store'],
      );
    }
    const told = events.flatMap((event) =>
      event.kind === 'redirected' ? [[event.mirror, event.bytes]] : [],
    );
    assert.deepEqual(told, [
      [A, 262_144],
      [A, 262_144],
    ]);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /^bootseal_redirects_total 2$/m);
    assert.match(metrics, /^bootseal_redirected_bytes_total 524288$/m);
    assert.match(metrics, /^bootseal_mirrors_usable 1$/m);
    assert.match(metrics, /^bootseal_http_requests_total\{status="302"\} 2$/m);
  });

  it('sends nobody who does not follow, for nothing that they do not verify, that is small, or no whole file', async (t) => {
    const { get } = await started(t, [{ url: A }], [verified(A)]);
    for (const [name, agent, more] of [
      [KERNEL, 'GRUB 2.06'],
      [KERNEL, 'UefiHttpBoot/1.0'],
      [KERNEL, undefined],
      [KERNEL, 'Wget'],
      [KERNEL, `Mozilla/5.0 ${IPXE}`],
      // early userspace fetches no kernel, and iPXE no root image
      [KERNEL, CURL],
      [ROOTFS, IPXE],
      [`${ROOTFS}.verity`, CURL],
      [INITRD, IPXE],
      [`${KERNEL}.ipxe.sig`, IPXE],
      ['/boot.ipxe', IPXE],
      [ROOTFS, CURL, { Range: 'bytes=0-0' }],
      [ROOTFS, CURL, { 'If-None-Match': '"x"' }],
      [`${ROOTFS}?direct`, CURL],
    ] as const) {
      const answer = await get(name, agent, more);
      assert.ok(answer.status === 200 || answer.status === 206, `${name} ${agent}: ${answer.status}`);
    }
  });

  it('sends nobody twice for one file, so that a lying mirror costs one attempt', async (t) => {
    const { get, server } = await started(t, [{ url: A }], [verified(A)]);
    assert.deepEqual([(await get(ROOTFS, CURL)).status, (await get(ROOTFS, CURL)).status], [302, 200]);
    const step = Buffer.from('verify the kernel').toString('hex');
    const said = await fetch(`${server.url}/api/v1/boots/gave-up?mac=52-54-00-12-34-56&step=${step}&errno=`);
    await said.arrayBuffer();
    assert.equal((await get(KERNEL, IPXE)).status, 200);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /^bootseal_redirects_direct_total\{reason="again"\} 1$/m);
    assert.match(metrics, /^bootseal_redirects_direct_total\{reason="refused"\} 1$/m);
  });

  it('sends nobody for what a loader starts that verifies nothing', async (t) => {
    const { get } = await started(t, [{ url: A }], [verified(A)], { allow_unverified_loaders: true });
    assert.deepEqual([(await get(KERNEL, IPXE)).status, (await get(ROOTFS, CURL)).status], [200, 302]);
  });

  it('sends to mirrors by what the last audit says of them, and of this very release', async (t) => {
    const where = async (health: readonly Listed[], more: Parameters<typeof started>[3] = {}) => {
      const { get } = await started(t, [{ url: A }, { url: B }], health, more);
      return (await get(ROOTFS, CURL)).headers.get('location')?.replace(/releases.*/, '');
    };
    for (const verdict of ['stale', 'drifted', 'slow', 'unreachable', 'unfinished'] as const)
      assert.equal(await where([{ url: A, verdict, releases: [] }, verified(B)]), B, verdict);
    assert.equal(await where([verified(A)], { audited: site.now - 25 * HOUR }), undefined);
    assert.equal(await where([verified(A)], { audited: site.now + HOUR }), undefined);
    assert.equal(await where([verified('http://c.example.org/')]), undefined);
    const other = { ...verified(A), releases: [{ release: NEW, manifest: '0'.repeat(64) }] };
    assert.equal(await where([other]), undefined);
  });

  it('says which mirror is left out, and why', async (t) => {
    const { server } = await started(
      t,
      [{ url: A }, { url: B }, { url: 'http://c.example.org/' }],
      [verified(A), { url: B, verdict: 'drifted', releases: [] }],
    );
    const said = await (await fetch(`${server.url}/readyz`)).text();
    assert.doesNotMatch(said, /a\.example/);
    assert.match(
      said,
      /no machine is sent to http:\/\/b\.example\.org\/: the audit of \S+Z found it drifted; /,
    );
    assert.match(said, /no machine is sent to http:\/\/c\.example\.org\/: no audit looked at it/);
  });

  it('reads anew what changes, and says what it cannot read', async (t) => {
    const { get, server, events } = await started(t, [{ url: A }], [verified(A)]);
    assert.equal((await get(KERNEL, IPXE)).status, 302);
    assert.ok(events.some(({ kind }) => kind === 'redirected'));
    await writeFile(join(folder, `health-${files}`), 'bootseal-mirror-health 2\n');
    // The server looks each second; whoever asks for its readiness hears of it.
    let said = '';
    while (!/no machine is sent to a mirror/.test(said))
      said = await (await fetch(`${server.url}/readyz`)).text();
    assert.match(said, /the first line is not "bootseal-mirror-health 1"/);
    assert.equal((await get(ROOTFS, CURL)).status, 200);
  });

  it('waits for nothing that somebody puts in the place of what audits wrote', async (t) => {
    const { server } = await started(t, [{ url: A }], [verified(A)]);
    const file = join(folder, `health-${files}`);
    const hears = async (what: RegExp) => {
      let said = '';
      while (!what.test(said)) said = await (await fetch(`${server.url}/readyz`)).text();
    };
    await rm(file);
    execFileSync('mkfifo', [file]);
    await hears(/health-\d+: [^\n]*is not a regular file/);
    await rm(file);
    await symlink('/dev/zero', file);
    await hears(/health-\d+: [^\n]*is a symbolic link/);
    await rm(file);
    await writeFile(file, Buffer.alloc(1024 * 1024 + 1, '\n'));
    await hears(/health-\d+: it is too long/);
  });

  it('prefers a mirror of the machine’s own network, and divides the others by weight', async (t) => {
    const near = await started(
      t,
      [{ url: A }, { url: B, networks: ['127.0.0.0/8'] }],
      [verified(A), verified(B)],
    );
    assert.match((await near.get(ROOTFS, CURL)).headers.get('location') ?? '', /^http:\/\/b\./);
    const far = await started(t, [{ url: B, networks: ['10.0.0.0/8'] }], [verified(B)]);
    assert.equal((await far.get(ROOTFS, CURL)).status, 200);
    const many = await started(t, [{ url: A, weight: 3 }, { url: B }], [verified(A), verified(B)], {
      trusted_proxies: ['127.0.0.1'],
    });
    let toA = 0;
    for (let at = 0; at < 400; at += 1) {
      const forwarded = { 'X-Forwarded-For': `10.0.${at >> 8}.${at & 255}` };
      if ((await many.get(ROOTFS, CURL, forwarded)).headers.get('location')?.startsWith(A)) toA += 1;
    }
    assert.ok(toA > 260 && toA < 340, `${toA} of 400, and 300 are its share`);
  });
});
