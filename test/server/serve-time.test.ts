import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { connected } from '../../lab/nbd-root.ts';
import { setPolicy } from '../../src/publish/policy.ts';
import { publish } from '../../src/publish/publish.ts';
import { type ServeOptions, type Serving, serve } from '../../src/server/serve.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { ask } from '../serve/http/harness.ts';

const DAY = 86_400_000;
const RELEASE = 'arch/2026.11.01';
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);
const AFTER = NOW + 91 * DAY;

/** What a machine begins a boot with, and what one that runs still reads. */
const STARTS = ['boot.ipxe', 'boot.ipxe.sig', 'grub.cfg', 'grub.cfg.sig'];
const LOADED = [KERNEL, INITRD, 'boot.ipxe', 'boot.ipxe.sig', 'grub.cfg'].map(
  (path) => `releases/${RELEASE}/${path}`,
);
const RUNNING = [
  ROOTFS,
  `${ROOTFS}.verity`,
  `${ROOTFS}.cms.sig`,
  'release.manifest',
  'release.manifest.sig',
].map((path) => `releases/${RELEASE}/${path}`);

/** A server whose clock the test moves, and a promise of the next line of its log that says `message`. */
async function started(t: TestContext, options: Partial<ServeOptions>, begin = NOW) {
  let time = begin;
  const waiting = new Map<string, (facts: object) => void>();
  const hear = (facts: object, message: string) => waiting.get(message)?.(facts);
  const server: Serving = await serve({
    anchors,
    clock: () => time,
    httpPort: 0,
    tftpPort: false,
    nbdPort: 0,
    log: { info: hear, warn: hear, error: hear },
    ...options,
  });
  t.after(() => server.close(0));
  return {
    server,
    get: (path: string, headers: Record<string, string> = {}) => fetch(`${server.url}/${path}`, { headers }),
    /** As a loader asks, which what is small and held is given to at once. */
    load: (path: string) => ask(server.http.port, `/${path}`),
    heard: (message: string) => new Promise<object>((resolve) => waiting.set(message, resolve)),
    move: (to: number) => {
      time = to;
    },
  };
}

it('past best-before new boots end, with the reason, and a machine that runs keeps its root', async (t) => {
  const { server, get, load, heard, move } = await started(t, { tree });
  for (const path of [...STARTS, ...LOADED, ...RUNNING]) {
    assert.equal((await get(path)).status, 200, path);
    assert.equal((await load(path)).status, 200, path);
  }
  const root = await connected(server.nbd?.port ?? 0, `${RELEASE}/airootfs`);
  t.after(() => root.close());
  const before = await root.read(0, 4096);

  const ended = heard('new boots have ended; machines that run keep their root');
  move(AFTER);
  assert.match(JSON.stringify(await ended), /"code":"stale".*was best before 2027-01-30/);
  for (const path of [...STARTS, ...LOADED]) {
    const answer = await get(path);
    assert.equal(answer.status, 410, path);
    assert.match(await answer.text(), /^stale: arch\/2026\.11\.01 was best before 2027-01-30/);
    const { status, body } = await load(path);
    assert.equal(status, 410, path);
    assert.match(body.toString(), /^stale: /);
  }
  for (const path of RUNNING) {
    assert.equal((await get(path)).status, 200, path);
    assert.equal((await load(path)).status, 200, path);
  }
  assert.equal((await get(RUNNING[0] ?? '', { Range: 'bytes=0-99' })).status, 206);
  assert.deepEqual(await root.read(0, 4096), before);
  const again = await connected(server.nbd?.port ?? 0, `${RELEASE}/airootfs`);
  assert.deepEqual(await again.read(0, 4096), before, 'a reconnect');
  again.close();
  assert.match(await (await get('')).text(), /new boots have ended: arch\/2026\.11\.01 was best before/);
  const ready = await get('readyz');
  assert.equal(ready.status, 503);
  assert.match(await ready.text(), /was best before/);

  const back = heard('machines may boot it again');
  move(NOW);
  await back;
  assert.equal((await get('boot.ipxe')).status, 200);
  for (const path of LOADED) assert.equal((await load(path)).status, 200, path);
  assert.equal((await get('readyz')).status, 200);
});

it('a state whose release has ended is served after a restart, for the machines that run', async (t) => {
  const state = join(folder, 'state-ended');
  await publish({ tree, channel: 'stable', state, anchors, now: NOW, rsaBits: 2048 });
  const { server, get } = await started(t, { state }, AFTER);
  assert.equal((await get('boot.ipxe')).status, 410);
  assert.equal((await get(RUNNING[0] ?? '')).status, 200);
  const root = await connected(server.nbd?.port ?? 0, `${RELEASE}/airootfs`);
  assert.equal((await root.read(0, 4096)).length, 4096);
  root.close();
});

it('a policy that strikes a key off ends new boots of a running server within a second, and keeps roots', async (t) => {
  const state = join(folder, 'state-policy');
  await publish({ tree, channel: 'stable', state, anchors, now: NOW, rsaBits: 2048 });
  const { get, heard } = await started(t, { state });
  assert.equal((await get('boot.ipxe')).status, 200);
  const [certificate] = (await readAnchorFolder(anchors)).openpgp.payload;
  const policy = join(folder, 'struck.toml');
  await writeFile(
    policy,
    `[[revoked]]\nid = "${certificate?.primary.fingerprint}"\nkind = "hard"\nsince = 2026-11-01\nreason = "stolen"\n`,
  );
  const ended = heard('new boots have ended; machines that run keep their root');
  assert.equal(await setPolicy({ state, policy, now: NOW }), true);
  assert.match(JSON.stringify(await ended), /"code":"revoked"/);
  assert.equal((await get('boot.ipxe')).status, 410);
  assert.equal((await get(RUNNING[0] ?? '')).status, 200);
});

it('a channel that is refused beside the entry is left out, and said', async (t) => {
  const state = join(folder, 'state-two');
  await publish({ tree, channel: 'stable', state, anchors, now: NOW, rsaBits: 2048 });
  await publish({ tree, channel: 'testing', state, anchors, now: NOW, rsaBits: 2048 });
  const other = await makeKeys(join(folder, 'other-keys'));
  const foreign = await sampleTree(join(folder, 'foreign'), other);
  await writeFile(join(foreign, 'arch/version'), '2026.11.02\n');
  await sealFixture(foreign, other);
  await publish({ tree: foreign, channel: 'other', state, anchors: other, now: NOW, rsaBits: 2048 });
  const { get } = await started(t, { state, channel: 'stable' });
  assert.equal((await get('boot.ipxe')).status, 200);
  assert.equal((await get(`releases/arch/2026.11.02/${KERNEL}`)).status, 404);
  assert.match(await (await get('readyz')).text(), /warning: other is not offered/);
});

it('no clock stands still by default', async (t) => {
  const fresh = await sampleTree(join(folder, 'fresh'), keys);
  await sealFixture(fresh, keys, { now: Date.now() });
  const server = await serve({ tree: fresh, anchors, httpPort: 0, tftpPort: false, nbdPort: false });
  t.after(() => server.close(0));
  assert.equal((await fetch(`${server.url}/boot.ipxe`)).status, 200);
  await assert.rejects(serve({ tree: fresh, anchors, clock: () => Date.now() + 91 * DAY, httpPort: 0 }), {
    code: 'stale',
  });
});
