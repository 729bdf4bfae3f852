import assert from 'node:assert/strict';
import { linkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { rollbackChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { type Serving, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { hearing } from './hearing.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const given = { channel: 'stable', state, anchors, now: NOW, snapshotKey: keys };

for (const version of ['2026.11.01', '2026.11.02']) {
  const tree = await sampleTree(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys);
}
await publish({ ...given, tree: join(folder, '2026.11.01') });

/** A server, and the messages of its log as they come. */
async function started(): Promise<{ server: Serving; heard: (message: string) => Promise<void> }> {
  const { log, heard } = hearing();
  const server = await serve({
    state,
    anchors,
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    log,
  });
  return { server, heard };
}

const text = async (url: string) => (await fetch(url)).text();

it('serves what the channel names, with its snapshot, and follows it', async (t) => {
  const { server, heard } = await started();
  t.after(() => server.close(0));
  assert.equal(server.release, 'arch/2026.11.01');
  assert.match(
    await text(`${server.url}/channels/stable`),
    /\ncounter 1\n.*\nexpires .*\narch x86_64\nrelease arch\/2026\.11\.01\n/s,
  );
  assert.equal((await fetch(`${server.url}/channels/stable.cms.sig`)).status, 200);
  assert.match(await text(`${server.url}/boot.ipxe`), /--signer arch\/2026\.11\.01/);

  await publish({ ...given, tree: join(folder, '2026.11.02') });
  await heard('the channel moved');
  assert.equal(server.release, 'arch/2026.11.02');
  assert.match(await text(`${server.url}/boot.ipxe`), /--signer arch\/2026\.11\.02/);
  assert.equal((await fetch(`${server.url}/releases/arch/2026.11.02/${ROOTFS}`)).status, 200);
});

it('follows a rollback too, and several channels stand side by side', async (t) => {
  await publish({ ...given, channel: 'testing', tree: join(folder, '2026.11.02') });
  await rollbackChannel({ ...given, release: 'arch/2026.11.01' });
  const several = serve({ state, anchors, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false });
  await assert.rejects(several, { name: 'UsageError', message: /several channels.*stable, testing/ });
  const server = await serve({
    state,
    anchors,
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    channel: 'stable',
  });
  t.after(() => server.close(0));
  assert.equal(server.release, 'arch/2026.11.01');
  for (const version of ['2026.11.01', '2026.11.02']) {
    assert.equal((await fetch(`${server.url}/releases/arch/${version}/${ROOTFS}`)).status, 200, version);
  }
  assert.equal((await fetch(`${server.url}/releases/arch/2026.11.03/${ROOTFS}`)).status, 404);
});

it('begins with a snapshot that has ended, says so, and machines boot', async (t) => {
  const server = await serve({
    state,
    anchors,
    clock: () => NOW + 8 * DAY,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    channel: 'stable',
  });
  t.after(() => server.close(0));
  assert.equal((await fetch(`${server.url}/boot.ipxe`)).status, 200);
  const ready = await fetch(`${server.url}/readyz`);
  assert.equal(ready.status, 200);
  assert.match(await ready.text(), /warning: the snapshot of stable ended on 2026-11-08.*machines boot on/);
  assert.match(await text(`${server.url}/`), /the snapshot of stable ended on 2026-11-08/);
});

it('reads again what is linked elsewhere while it is read, and offers it', async (t) => {
  const linked = new Set<string>();
  const server = await serve({
    state,
    anchors,
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    channel: 'stable',
    // As a publisher does whose release has the same file.
    onProgress: (path) => {
      if (linked.has(path)) return;
      linked.add(path);
      linkSync(join(state, 'releases/arch/2026.11.01', path), join(folder, `link-${linked.size}`));
    },
  });
  t.after(() => server.close(0));
  assert.ok(linked.has(ROOTFS));
  assert.equal(server.release, 'arch/2026.11.01');
  assert.equal((await fetch(`${server.url}/releases/arch/2026.11.01/${ROOTFS}`)).status, 200);
});
