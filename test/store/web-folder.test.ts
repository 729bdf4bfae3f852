import assert from 'node:assert/strict';
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { chooseEntry, renewChannel, rollbackChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { idOf } from '../../src/trust/trust-roots.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const id = idOf(await readAnchorFolder(keys));
for (const version of ['2026.11.01', '2026.11.02']) {
  const tree = await sampleTree(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys);
}
const tree = (version: string) => join(folder, version);

let states = 0;
function newState() {
  const state = join(folder, `state-${++states}`);
  return { state, given: { channel: 'stable', state, anchors, now: NOW, snapshotKey: keys } };
}
const www = (state: string, ...path: string[]) => join(state, 'www', ...path);
const same = async (one: string, two: string) =>
  assert.ok((await readFile(one)).equals(await readFile(two)), `${one} and ${two}`);
const of = (state: string, version: string, ...path: string[]) =>
  join(state, 'releases/arch', version, ...path);

it('holds what a machine begins with, at the paths of the server, and every release behind one link', async () => {
  const { state, given } = newState();
  const { moved } = await publish({ ...given, tree: tree('2026.11.01') });
  assert.deepEqual(moved?.warnings, []);
  assert.deepEqual(
    (await readdir(www(state), { recursive: true })).filter((path) => !path.startsWith('releases/')).sort(),
    [
      ...['anchors', `anchors/${id}`, `anchors/${id}/boot.ipxe`, `anchors/${id}/boot.ipxe.sig`],
      ...['boot.ipxe', 'boot.ipxe.sig', 'channels', 'channels/stable', 'channels/stable.cms.sig'],
      ...['entries', 'entries/x86_64', 'entries/x86_64/boot.ipxe', 'entries/x86_64/boot.ipxe.sig'],
      ...['entries/x86_64/grub.cfg', 'entries/x86_64/grub.cfg.sig', 'grub.cfg', 'grub.cfg.sig', 'releases'],
    ],
  );
  for (const name of ['boot.ipxe', 'boot.ipxe.sig', 'grub.cfg', 'grub.cfg.sig'])
    await same(www(state, name), of(state, '2026.11.01', name));
  await same(www(state, 'releases/arch/2026.11.01', ROOTFS), of(state, '2026.11.01', ROOTFS));
  // For whoever the web server runs as.
  assert.equal((await stat(www(state))).mode & 0o777, 0o755);
  assert.equal((await stat(www(state, 'boot.ipxe'))).mode & 0o777, 0o444);
});

it('moves with the channel, script and seal together; old generations go, and never the current one', async () => {
  const { state, given } = newState();
  await publish({ ...given, tree: tree('2026.11.01') });
  const first = await readlink(www(state));
  const before = await lstat(join(state, first, 'boot.ipxe'));
  await publish({ ...given, tree: tree('2026.11.02') });
  assert.notEqual(await readlink(www(state)), first);
  await same(www(state, 'boot.ipxe'), of(state, '2026.11.02', 'boot.ipxe'));
  // Whoever is in the middle of the former one finds both of that, untouched.
  for (const name of ['boot.ipxe', 'boot.ipxe.sig'])
    await same(join(state, first, name), of(state, '2026.11.01', name));
  assert.equal((await lstat(join(state, first, 'boot.ipxe'))).ino, before.ino);
  await rollbackChannel({ ...given, release: 'arch/2026.11.01' });
  await same(www(state, 'boot.ipxe'), of(state, '2026.11.01', 'boot.ipxe'));
  for (let turn = 0; turn < 3; turn += 1) await renewChannel(given);
  const left = await readdir(join(state, 'web'));
  assert.deepEqual(left.sort(), ['4', '5', '6']);
  assert.equal(await readlink(www(state)), 'web/6');
  await same(www(state, 'channels/stable'), join(state, 'channels/stable/6/snapshot'));
});

it('loses the way into a release that is withdrawn', async () => {
  const { state, given } = newState();
  await publish({ ...given, tree: tree('2026.11.01') });
  await withdrawRelease({
    ...{ state, release: 'arch/2026.11.01', reason: 'a test', cutRunning: false },
    now: NOW,
    snapshotKey: keys,
  });
  assert.deepEqual((await readdir(www(state))).sort(), ['channels', 'releases']);
});

it('keeps the channel that was first, until another is chosen', async () => {
  const { state, given } = newState();
  await publish({ ...given, tree: tree('2026.11.01') });
  await publish({ ...given, channel: 'testing', tree: tree('2026.11.02') });
  await same(www(state, 'boot.ipxe'), of(state, '2026.11.01', 'boot.ipxe'));
  await same(www(state, 'channels/testing'), join(state, 'channels/testing/1/snapshot'));
  assert.deepEqual(await chooseEntry({ state, channel: 'testing' }), []);
  await same(www(state, 'boot.ipxe'), of(state, '2026.11.02', 'boot.ipxe'));
  await assert.rejects(chooseEntry({ state, channel: 'nightly' }), misused(/There is no channel nightly/));
});

it('leaves out a script of another manifest than the channel names, and says so', async () => {
  const { state, given } = newState();
  await publish({ ...given, tree: tree('2026.11.01') });
  const script = of(state, '2026.11.01', 'boot.ipxe');
  await rm(script);
  await writeFile(script, await readFile(join(tree('2026.11.02'), 'boot.ipxe')));
  const { warnings } = await renewChannel(given);
  assert.match(warnings.join('\n'), /no way into arch\/2026\.11\.01: its boot\.ipxe is not of the manifest/);
  assert.deepEqual((await readdir(www(state))).sort(), ['channels', 'releases']);
});

it('touches nothing of an operator’s that has its name; the channel moves all the same', async () => {
  const { state, given } = newState();
  await publish({ ...given, tree: tree('2026.11.01') });
  await rm(www(state));
  await mkdir(www(state));
  await writeFile(www(state, 'index.html'), 'mine');
  const { warnings, snapshot } = await renewChannel(given);
  assert.match(warnings.join('\n'), /stays as it was: .*www is not the link that Bootseal makes/);
  assert.deepEqual(await readdir(join(state, 'www')), ['index.html']);
  assert.equal(snapshot.counter, 2);
});
