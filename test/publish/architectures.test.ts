import assert from 'node:assert/strict';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { embeddedScript } from '../../src/build/loader-kit.ts';
import { tamper } from '../../src/conformance/tamper.ts';
import { verifyAs } from '../../src/conformance/verify-as.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import { boot } from '../../src/operations/boot.ts';
import { listChannels, renewChannel, rollbackChannel, showChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { nextSnapshot } from '../../src/resigning/next-snapshot.ts';
import { serve } from '../../src/server/serve.ts';
import { readSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { readChannel } from '../../src/store/channels.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { arm64Image } from '../fixtures/kernels.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { refused } from '../trust/judge.ts';

/** One channel, machines of two architectures. */

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const given = {
  channel: 'stable',
  state: join(folder, 'state'),
  anchors: join(keys, 'anchors'),
  now: NOW,
  rsaBits: 2048,
};

/** The sample; another architecture's lies in folders of that name. */
async function release(version: string, arch = 'x86_64'): Promise<string> {
  const tree = await sampleTree(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  if (arch !== 'x86_64') {
    for (const at of ['arch/boot', 'arch']) await rename(join(tree, at, 'x86_64'), join(tree, at, arch));
    await writeFile(join(tree, KERNEL.replace('x86_64', arch)), arm64Image());
  }
  await sealFixture(tree, keys);
  return tree;
}
const trees = {
  x86: [await release('2026.11.01'), await release('2026.11.03')],
  arm: [await release('2026.11.02', 'aarch64'), await release('2026.11.04', 'aarch64')],
} as const;

const named = async () => {
  const { history } = await showChannel(given);
  return history.at(-1)?.releases.map(({ arch, release: id, rollbackFrom }) => [arch, id, rollbackFrom]);
};
const put = async (tree: string) => {
  const { refusal, gates } = await publish({ ...given, tree });
  assert.equal(refusal, undefined, JSON.stringify(gates.find((row) => row.refusal)));
};

it('each architecture moves by itself, and its serials are its own', async () => {
  await put(trees.x86[0]);
  await put(trees.arm[1]);
  assert.deepEqual(await named(), [
    ['aarch64', 'arch/2026.11.04', undefined],
    ['x86_64', 'arch/2026.11.01', undefined],
  ]);
  // Below what the channel has for the other machines, above what it had for these.
  await put(trees.x86[1]);
  assert.deepEqual(
    (await named())?.map(([, id]) => id),
    ['arch/2026.11.04', 'arch/2026.11.03'],
  );
  const { refusal } = await publish({ ...given, tree: trees.arm[0] });
  assert.equal(refusal?.code, 'rolled-back');
});

it('renewing renews all, and each is on record', async () => {
  const entries = () => readFile(join(given.state, 'log/entries'), 'utf8');
  const before = (await entries()).length;
  await renewChannel({ ...given, now: NOW + DAY });
  assert.deepEqual(
    (await named())?.map(([, id]) => id),
    ['arch/2026.11.04', 'arch/2026.11.03'],
  );
  const logged = (await entries()).slice(before);
  assert.deepEqual(logged.match(/^act .*$/gm), ['act renew', 'act renew']);
  assert.deepEqual(logged.match(/^release .*$/gm), ['release arch/2026.11.04', 'release arch/2026.11.03']);
  assert.deepEqual(new Set(logged.match(/^counter .*$/gm)).size, 1);
});

it('a rollback is of one', async () => {
  await rollbackChannel({ ...given, release: 'arch/2026.11.01' });
  assert.deepEqual(await named(), [
    ['aarch64', 'arch/2026.11.04', undefined],
    ['x86_64', 'arch/2026.11.01', 'arch/2026.11.03'],
  ]);
  const there = rollbackChannel({ ...given, release: 'arch/2026.11.04' });
  await assert.rejects(there, misused(/is at arch\/2026\.11\.04 already/));
});

it('a server holds all, and its entry is that of x86_64', async (t) => {
  const server = await serve({
    ...given,
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
  });
  t.after(() => server.close(0));
  assert.equal(server.release, 'arch/2026.11.01');
  const status = async (path: string) => (await fetch(`${server.url}/releases/arch/${path}`)).status;
  assert.equal(await status(`2026.11.01/${KERNEL}`), 200);
  assert.equal(await status('2026.11.04/arch/boot/aarch64/vmlinuz-linux'), 200);
  assert.equal(await status(`2026.11.03/${KERNEL}`), 404);
});

it('machines of each architecture begin at an entry of their own, with their own release', async (t) => {
  const server = await serve({ ...given, clock: () => NOW, httpPort: 0, tftpPort: 0, nbdPort: false });
  t.after(() => server.close(0));
  const text = async (path: string) => {
    const response = await fetch(server.url + path);
    return response.ok ? response.text() : response.status;
  };
  for (const [name, tree] of [
    ['aarch64', trees.arm[1]],
    ['x86_64', trees.x86[0]],
  ] as const) {
    for (const file of ['boot.ipxe', 'grub.cfg', 'grub.cfg.sig', 'boot.ipxe.sig']) {
      const sealed = await readFile(join(tree, file));
      const answer = await fetch(`${server.url}/entries/${name}/${file}`);
      assert.deepEqual(Buffer.from(await answer.arrayBuffer()), sealed, `${name} ${file}`);
      // It is another one when the channel moves.
      assert.doesNotMatch(answer.headers.get('cache-control') ?? '', /immutable/);
    }
    assert.match(
      String(await text(`/entries/${name}/autoexec.ipxe`)),
      new RegExp(`/entries/${name}/boot\\.ipxe`),
    );
  }
  const anchor = /\/anchors\/([0-9a-f]{16})\//.exec(await embeddedScript({ anchors: given.anchors }))?.[1];
  assert.equal(
    await text(`/entries/aarch64/anchors/${anchor}/boot.ipxe`),
    await text('/entries/aarch64/boot.ipxe'),
  );
  for (const absent of ['/entries/riscv64/boot.ipxe', '/entries/aarch64/version', '/entries//boot.ipxe'])
    assert.equal(await text(absent), 404, absent);
});

it('an emulated machine of each is told, and boots, its own release; the entry of another refuses it', async (t) => {
  const server = await serve({ ...given, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false });
  t.after(() => server.close(0));
  const booted = async (entry: string, arch?: string) =>
    boot({
      url: `${server.url}/${entry}`,
      anchors: given.anchors,
      now: NOW,
      ...(arch === undefined ? {} : { arch }),
    });
  const arm = await booted('entries/aarch64/boot.ipxe');
  assert.deepEqual([arm.verified, arm.manifest?.release], [true, 'arch/2026.11.04'], arm.refusal?.message);
  const x86 = await booted('boot.ipxe');
  assert.deepEqual([x86.verified, x86.manifest?.release], [true, 'arch/2026.11.01'], x86.refusal?.message);
  // An iPXE says what it was built for.
  const asks = await booted('boot.ipxe', 'aarch64');
  assert.deepEqual([asks.verified, asks.manifest?.release], [true, 'arch/2026.11.04'], asks.refusal?.message);
  const lost = await booted('entries/x86_64/boot.ipxe', 'aarch64');
  assert.deepEqual([lost.verified, lost.refusal?.code], [false, 'wrong-machine'], lost.refusal?.message);
  const named = await boot({
    url: `${server.url}/boot.ipxe`,
    now: NOW,
    arch: 'aarch64',
    platform: 'pcbios',
  }).catch((error: unknown) => error);
  assert.match(String(named), /There is no BIOS for machines of aarch64/);
});

it('every client judges the entry of its own machines', async (t) => {
  const server = await serve({ ...given, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false });
  t.after(() => server.close(0));
  // The sealed grub.cfg names a port, which is not this server's: its command line is judged at the mirror alone.
  const atServer = ['ipxe', 'ipxe-efi', 'grub', 'archiso'] as const;
  for (const [place, as] of [
    ['entries/aarch64/', atServer],
    ['releases/arch/2026.11.04/', [...atServer, 'manifest']],
  ] as const) {
    const verdicts = await verifyAs({
      target: `${server.url}/${place}`,
      anchors: given.anchors,
      now: NOW,
      as,
    });
    assert.deepEqual(
      verdicts.map(({ client, asked, refusal }) => [client, asked, refusal?.message]),
      as.map((name) => [name, name !== 'ipxe', undefined]),
      place,
    );
  }
});

it('attacks are tried on machines of the release', async () => {
  const { rows, deviations } = await tamper({
    tree: trees.arm[1],
    keys,
    now: NOW,
    attack: 'release for another architecture',
  });
  assert.deepEqual(deviations, []);
  assert.equal(rows.length, 1);
  const cells = rows[0]?.cells ?? {};
  assert.equal(cells.manifest?.code, 'wrong-machine');
  // There is no BIOS to be attacked.
  assert.deepEqual(['ipxe' in cells, 'ipxe-efi' in cells], [false, true]);
});

it('what one loses to a damaged release, the others keep', async (t) => {
  const state = join(folder, 'damaged');
  for (const tree of [trees.x86[0], trees.arm[0]]) await publish({ ...given, state, tree });
  const manifest = join(state, 'releases/arch/2026.11.02/release.manifest');
  await rm(manifest);
  const refusals: string[] = [];
  const server = await serve({
    ...given,
    state,
    clock: () => NOW,
    httpPort: 0,
    tftpPort: false,
    nbdPort: false,
    log: { info() {}, warn: (_, text) => refusals.push(text), error: (_, text) => refusals.push(text) },
  });
  t.after(() => server.close(0));
  assert.equal(server.release, 'arch/2026.11.01');
  assert.ok(refusals.length > 0);
  assert.match(await (await fetch(`${server.url}/readyz`)).text(), /stable for aarch64 is not offered/);
});

it('a release that is signed anew takes its own place', async () => {
  const stored = await readChannel(given.state, given.channel);
  assert.ok(stored);
  const manifest = decodeManifest(await readFile(join(trees.arm[1], 'release.manifest')));
  const signed = { manifest: { ...manifest, release: 'arch/2026.11.05' }, manifestSha256: 'e'.repeat(64) };
  const { snapshot } = await nextSnapshot(
    given.state,
    stored,
    signed,
    await readSnapshotKey(given.state),
    NOW + DAY,
    async () => undefined,
  );
  assert.deepEqual(
    snapshot.releases.map((one) => [one.arch, one.release]),
    [
      ['aarch64', 'arch/2026.11.05'],
      ['x86_64', 'arch/2026.11.01'],
    ],
  );
  assert.equal(snapshot.releases[0]?.manifest, signed.manifestSha256);
});

it('what is withdrawn is shown at its machines alone, and is left out of what is signed next', async () => {
  await withdrawRelease({ ...given, release: 'arch/2026.11.04', reason: 'a test', cutRunning: false });
  const [row] = await listChannels(given);
  assert.equal(row?.refusal?.code, 'withdrawn');
  assert.deepEqual([...(row?.withdrawn.keys() ?? [])], ['aarch64']);
  const { warnings } = await renewChannel({ ...given, now: NOW + 2 * DAY });
  assert.match(
    warnings.join(),
    /arch\/2026\.11\.04 is withdrawn: the channel names nothing for aarch64 any more/,
  );
  assert.deepEqual(
    (await named())?.map(([arch]) => arch),
    ['x86_64'],
  );
  // There is no other to renew.
  await withdrawRelease({ ...given, release: 'arch/2026.11.01', reason: 'a test', cutRunning: false });
  await assert.rejects(renewChannel(given), refused('withdrawn'));
});
