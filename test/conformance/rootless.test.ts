import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verifyAs } from '../../src/conformance/verify-as.ts';
import { cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { encodePolicyFloor, POLICY_FLOOR_PATH } from '../../src/formats/records/policy-floor.ts';
import { boot } from '../../src/operations/boot.ts';
import { publish } from '../../src/publish/publish.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture, writeTree } from '../fixtures/release.ts';
import { staticServer } from '../fixtures/static.ts';

/** Releases without a root image: an installer, and a tool that has not even an initrd. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const log = { info: () => {}, warn: () => {}, error: () => {} };

function archive(name: string, data: Uint8Array): Uint8Array {
  const parent = name.includes('/') ? [{ kind: 'directory' as const, name: name.replace(/\/.*/, '') }] : [];
  return encodeCpio(cpioEntries([...parent, { kind: 'file', name, data }], 0));
}

async function sealed(name: string, files: Record<string, string | Uint8Array>): Promise<string> {
  const tree = await writeTree(join(folder, name), files);
  await sealFixture(tree, keys);
  return tree;
}

const installer = await sealed('installer', {
  'bootseal.toml':
    'release = "installer/2026.11.01"\nkernel = "linux"\ninitrd = ["initrd.img"]\ncmdline = "quiet"\nfree = ["ip dhcp"]\n',
  linux: 'a kernel\0',
  'initrd.img': archive('init', Buffer.from('#!/bin/sh\n')),
});
const tool = await sealed('tool', {
  'bootseal.toml': 'release = "memtest/2026.11.01"\nkernel = "memtest.bin"\ncmdline = "console=ttyS0"\n',
  'memtest.bin': 'a tool\0',
});

const offered = async (tree: string) =>
  serve({ tree, anchors: keys, clock: () => NOW, httpPort: 0, tftpPort: 0, nbdPort: 0, log });

for (const [what, tree] of [
  ['an installer', installer],
  ['a tool without an initrd', tool],
] as const) {
  describe(what, () => {
    it('is published, and the clients that it does not start are not asked', async () => {
      const { gates, moved } = await publish({
        tree,
        channel: 'stable',
        state: join(folder, `${what}-state`),
        anchors: join(keys, 'anchors'),
        now: NOW,
        rsaBits: 2048,
      });
      assert.deepEqual(
        gates.filter(({ refusal }) => refusal),
        [],
      );
      const facts = new Map(gates.map(({ gate, fact }) => [gate, fact]));
      assert.deepEqual(
        ['client archiso', 'client manifest'].map((gate) => facts.get(gate)),
        ['not asked', 'not asked'],
      );
      assert.ok(moved);
    });

    it('boots verified, on a BIOS and on UEFI, and no release binds it', async (t) => {
      const server = await offered(tree);
      t.after(() => server.close(0));
      const url = `${server.url}/boot.ipxe`;
      for (const platform of ['pcbios', 'efi'] as const) {
        const verdict = await boot({ url, anchors: keys, now: NOW, platform, anyKernel: true });
        assert.deepEqual(
          [verdict.refusal, verdict.verified, verdict.rootless, verdict.bound],
          [undefined, true, true, false],
        );
        assert.ok(verdict.rows.every(({ role }) => role !== 'rootfs'));
      }
    });

    it('is verified at an address by the clients that it starts', async (t) => {
      const server = await offered(tree);
      t.after(() => server.close(0));
      const verdicts = await verifyAs({ target: `${server.url}/`, anchors: keys, now: NOW });
      assert.deepEqual(
        verdicts.map(({ client, asked, refusal }) => [client, asked, refusal?.code]),
        [
          ['ipxe', true, undefined],
          ['ipxe-efi', true, undefined],
          ['grub', true, undefined],
          ['archiso', false, undefined],
          ['manifest', false, undefined],
        ],
      );
    });
  });
}

it('a manifest that says nothing of a root image is taken from the server only by its digest', async () => {
  const lying = await staticServer((path) =>
    path.endsWith('/release.manifest')
      ? join(tool, 'release.manifest')
      : join(installer, path.replace(/^\/releases\/installer\/2026\.11\.01/, '')),
  );
  const verdict = await boot({ url: `${lying.url}/boot.ipxe`, anchors: keys, now: NOW, anyKernel: true });
  assert.deepEqual([verdict.verified, verdict.refusal?.code], [false, 'mixed-releases']);
});

it('a plain release with a root image that nothing on the machine verifies is not called verified', async (t) => {
  const tree = await sealed('live', {
    'bootseal.toml':
      'release = "live/2026.11.01"\nkernel = "linux"\ninitrd = ["initrd.img"]\nrootfs = "root.sfs"\ncmdline = "root=/dev/nbd0"\n',
    linux: 'a kernel\0',
    'initrd.img': archive('init', Buffer.from('#!/bin/sh\n')),
    'root.sfs': 'a root image',
  });
  const server = await offered(tree);
  t.after(() => server.close(0));
  const verdict = await boot({ url: `${server.url}/boot.ipxe`, anchors: keys, now: NOW, anyKernel: true });
  assert.deepEqual([verdict.verified, verdict.rootless, verdict.refusal], [false, true, undefined]);
  assert.deepEqual(
    verdict.unverified.map(({ name, by }) => [name, by]),
    [
      ['file root.sfs', 'nobody'],
      ['word root', 'nobody'],
    ],
  );
});

it('an Arch tree asks for its root image, whatever the server says of it', async () => {
  const tree = await sampleTree(join(folder, 'arch'), keys);
  await sealFixture(tree, keys);
  const lying = await staticServer((path) =>
    path.endsWith(ROOTFS)
      ? join(tree, 'absent')
      : join(tree, path.replace(/^\/releases\/arch\/2026\.11\.01/, '')),
  );
  const verdict = await boot({ url: `${lying.url}/boot.ipxe`, anchors: keys, now: NOW });
  assert.deepEqual([verdict.verified, verdict.rootless, verdict.refusal?.code], [false, false, 'absent']);
});

it('an initramfs whose policy floor demands the manifest is asked as what it is', async (t) => {
  const floor = encodePolicyFloor({
    name: 'floored',
    minSerial: 1,
    graceDays: 0,
    require: ['manifest'],
  });
  const tree = await sealed('floored', {
    'bootseal.toml':
      'release = "floored/2026.11.01"\nkernel = "linux"\ninitrd = ["initrd.img"]\nfree = ["archiso_http_srv url"]\n',
    linux: 'a kernel\0',
    'initrd.img': archive(POLICY_FLOOR_PATH, floor),
  });
  const server = await offered(tree);
  t.after(() => server.close(0));
  const [verdict] = await verifyAs({
    target: `${server.url}/`,
    anchors: keys,
    now: NOW,
    as: ['manifest'],
  });
  // It holds no key, so it cannot, and a machine with it halts.
  assert.deepEqual([verdict?.asked, verdict?.refusal?.code], [true, 'absent']);
});

it('a release of archiso’s without a root image fetches one all the same, and is called verified by nobody', async (t) => {
  const tree = await sealed('headless', {
    'bootseal.toml':
      'release = "headless/2026.11.01"\nlayout = "archiso"\nkernel = "linux"\ninitrd = ["initrd.img"]\ncmdline = "quiet"\nfree = ["archiso_http_srv url"]\n',
    linux: 'a kernel\0',
    'initrd.img': archive('init', Buffer.from('#!/bin/sh\n')),
  });
  const { refusal, gates } = await publish({
    tree,
    channel: 'stable',
    state: join(folder, 'headless-state'),
    anchors: join(keys, 'anchors'),
    now: NOW,
    rsaBits: 2048,
  });
  assert.equal(refusal?.code, 'no-verdict');
  const row = gates.find(({ gate }) => gate === 'on the machine');
  assert.match(
    row?.refusal?.message ?? '',
    /archiso_http_srv=\(url\).*unverified = \["word archiso_http_srv"\]/,
  );
  const server = await offered(tree);
  t.after(() => server.close(0));
  const verdict = await boot({ url: `${server.url}/boot.ipxe`, anchors: keys, now: NOW, anyKernel: true });
  assert.deepEqual([verdict.verified, verdict.rootless], [false, false]);
});
