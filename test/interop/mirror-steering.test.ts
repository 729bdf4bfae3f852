import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { freePorts, startNginx } from '../../lab/nginx.ts';
import { audit, boot, serve } from '../../src/index.ts';
import { encodeHealth } from '../../src/mirrors/audit/audit.ts';
import { publish } from '../../src/publish/publish.ts';
import { CONFIGURATION } from '../../src/server/configuration.ts';
import { initrd } from '../emulator/early/release.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { copyState, flipByte } from '../fixtures/mirror-site.ts';
import { overlayOf } from '../fixtures/overlay.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

/** Three mirrors by a real nginx; a machine whose bytes come from the one that an audit verified. */
const RELEASE = 'arch/2026.11.01';
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const tree = await sampleTree(join(folder, 'tree'), keys);
await writeFile(join(tree, INITRD), initrd({}));
await writeFile(join(tree, 'bootseal-overlay.img'), await overlayOf(keys, { mode: 'ram' }));
await sealFixture(tree, keys, { cmdline: 'quiet' });
const given = { channel: 'stable', state, anchors, snapshotKey: keys };
const { refusal } = await publish({ ...given, tree, now: NOW });
if (refusal) throw refusal;
const now = NOW + 3_600_000;

/** nginx over so many copies of the state, as they are now. */
async function mirrors(t: TestContext, count: number) {
  const name = t.name.replaceAll(/\W+/g, '-').slice(0, 30);
  const ports = await freePorts(count);
  const roots = await Promise.all(ports.map((port) => copyState(state, join(folder, `${name}-${port}`))));
  const sites = roots.map((root, at) => ({ root, port: ports[at] ?? 0 }));
  const nginx = await startNginx(join(folder, `nginx-${name}`), sites);
  t.after(() => nginx.stop());
  return { nginx, roots, urls: ports.map((port) => `http://127.0.0.1:${port}/`), ports };
}

async function steered(t: TestContext, urls: readonly string[], health: string) {
  const configuration = CONFIGURATION.parse({
    mirrors: urls.map((url) => ({ url })),
    steering: { health: [health], least_kib: 64 },
  });
  const server = await serve({
    ...{ state, anchors, configuration, clock: () => now },
    ...{ httpPort: 0, tftpPort: false, nbdPort: false },
  });
  t.after(() => server.close(0));
  return server;
}

const booted = (url: string) => boot({ url: `${url}/boot.ipxe`, anchors, now, anyKernel: true, mode: 'ram' });

it('a machine boots verified with bytes of the mirror that the audit verified', async (t) => {
  const { nginx, roots, urls, ports } = await mirrors(t, 2);
  await flipByte(join(roots[1] ?? '', 'releases', RELEASE, ROOTFS), 5000);
  const report = await audit({ mirrors: urls, channel: 'stable', anchors, now, share: 1 });
  assert.deepEqual(
    report.rows.map(({ verdict }) => verdict),
    ['verified', 'drifted'],
  );
  const health = join(folder, 'health');
  await writeFile(health, encodeHealth(report));
  const server = await steered(t, urls, health);
  const { verified, refusal: why } = await booted(server.url);
  assert.deepEqual([why, verified], [undefined, true]);
  await nginx.stop();
  const asked = (await nginx.asked()).filter((line) => !line.includes(' 206 '));
  for (const name of [KERNEL, ROOTFS])
    assert.ok(
      asked.includes(`${ports[0]} 200 GET /releases/${RELEASE}/${name} 262144`),
      `${name}: ${asked.join('\n')}`,
    );
  const [receipt] = await server.boots.find({}, 1);
  assert.deepEqual(
    receipt?.stages.flatMap(({ stage, byMirror }) => (byMirror === undefined ? [] : [[stage, byMirror]])),
    [
      ['kernel', 262_144],
      ['root', 262_144],
    ],
  );
});

it('a machine whose mirror lies about the root image asks the server, and is verified in the same boot', async (t) => {
  const { nginx, roots, urls, ports } = await mirrors(t, 1);
  const health = join(folder, 'health-lying');
  await writeFile(health, encodeHealth(await audit({ mirrors: urls, channel: 'stable', anchors, now })));
  await flipByte(join(roots[0] ?? '', 'releases', RELEASE, ROOTFS), 5000);
  const server = await steered(t, urls, health);
  const { verified, refusal: why } = await booted(server.url);
  assert.deepEqual([why, verified], [undefined, true]);
  await nginx.stop();
  assert.ok((await nginx.asked()).includes(`${ports[0]} 200 GET /releases/${RELEASE}/${ROOTFS} 262144`));
});

it('a machine whose mirror lies about the kernel, or is gone, is verified when it comes again', async (t) => {
  const { nginx, roots, urls } = await mirrors(t, 1);
  const health = join(folder, 'health-kernel');
  await writeFile(health, encodeHealth(await audit({ mirrors: urls, channel: 'stable', anchors, now })));
  await flipByte(join(roots[0] ?? '', 'releases', RELEASE, KERNEL), 5000);
  const server = await steered(t, urls, health);
  const first = await booted(server.url);
  assert.equal(first.verified, false);
  assert.ok(first.refusal);
  const second = await booted(server.url);
  assert.deepEqual([second.refusal, second.verified], [undefined, true]);
  await nginx.stop();
  const other = await steered(t, urls, health);
  const gone = await booted(other.url);
  assert.equal(gone.verified, false);
  assert.equal((await booted(other.url)).verified, true);
});
