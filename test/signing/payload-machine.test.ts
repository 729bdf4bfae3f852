import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { overlay } from '../../src/build/overlay.ts';
import { machineOfOverlay } from '../../src/signing/payload-machine.ts';
import { run } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { arm64Image, bzImage, efiProgram, elf, multiboot, zboot } from '../fixtures/kernels.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';
import { refused } from '../trust/judge.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
let count = 0;

async function treeOf(
  kernel: Uint8Array,
  arch?: string,
  more: Readonly<Record<string, Uint8Array>> = {},
): Promise<string> {
  const tree = join(folder, `tree-${++count}`);
  await mkdir(tree);
  const rootfs = 'bootseal-overlay.img' in more ? 'rootfs = "root.sfs"\n' : '';
  return writeTree(tree, {
    'bootseal.toml': `release = "pi/2026.11.01"\nkernel = "Image"\ninitrd = ["initrd.img"]\n${rootfs}${
      arch === undefined ? '' : `arch = "${arch}"\n`
    }`,
    Image: kernel,
    'initrd.img': gzipSync('070701'),
    'root.sfs': Buffer.alloc(4096, 'hsqs'),
    ...more,
  });
}

describe('a kernel and the machines that its release is for', () => {
  for (const [what, arch, kernel] of [
    ['a bzImage', 'x86_64', bzImage()],
    ['a bzImage', undefined, bzImage()],
    ['Multiboot', 'x86_64', multiboot(4096)],
    ['an arm64 Image', 'aarch64', arm64Image()],
    ['the same in gzip', 'aarch64', gzipSync(arm64Image())],
    ['EFI zboot', 'aarch64', zboot(0xaa64)],
    ['an ELF kernel', 'riscv64', elf(243)],
    ['one that does not say', 'aarch64', efiProgram(0xbeef)],
    ['one of no known kind', 'mips64', Buffer.alloc(4096, '\0\x01')],
  ] as const) {
    it(`go together: ${what} for ${arch ?? 'whom nobody names'}`, async () => {
      const { manifest } = await sealFixture(await treeOf(kernel, arch), keys);
      assert.equal(manifest.arch, arch ?? 'x86_64');
    });
  }

  for (const [what, arch, kernel, says] of [
    [
      'a bzImage',
      'aarch64',
      bzImage(),
      /The kernel Image \(bzImage\) is for x86, and pi\/2026\.11\.01 is for aarch64; .* --arch x86_64\.$/,
    ],
    [
      'an arm64 Image',
      undefined,
      arm64Image(),
      /The kernel Image \(arm64 Image\) is for aarch64, .* is for x86_64; .* --arch aarch64\.$/,
    ],
    ['the same in gzip', 'x86_64', gzipSync(arm64Image()), /\(arm64 Image, gzip\) is for aarch64/],
    ['EFI zboot', 'riscv64', zboot(0xaa64), /\(EFI zboot\) is for aarch64/],
    ['an EFI program', 'x86_64', efiProgram(0xaa64), /\(EFI program\) is for aarch64/],
    ['Multiboot', 'aarch64', multiboot(4096), /\(Multiboot\) is for x86/],
    ['an ELF kernel', 'x86_64', elf(183), /\(ELF\) is for aarch64/],
    [
      'Debian’s name for them',
      'arm64',
      arm64Image(),
      /for arm64, and its machines call themselves aarch64; write arch = "aarch64"/,
    ],
    ['Debian’s other name', 'amd64', bzImage(), /call themselves x86_64/],
    ['a name of neither', 'arm64', bzImage(), /is for x86, and pi\/2026\.11\.01 is for arm64/],
  ] as const) {
    it(`do not: ${what} for ${arch ?? 'x86_64, the default'}`, async () => {
      const tree = await treeOf(kernel, arch);
      const before = await readdir(tree);
      await assert.rejects(sealFixture(tree, keys), refused('wrong-machine', says));
      assert.deepEqual(await readdir(tree), before);
    });
  }

  it('what the operator says wins, and is sealed and shown', async () => {
    const fresh = await makeKeys(join(folder, 'fresh'), { now: Date.now() });
    const words = ['--keys', fresh];
    const tree = await treeOf(arm64Image());
    const refusal = await run(['seal', tree, ...words]);
    assert.deepEqual([refusal.code, /is for aarch64/.test(refusal.err)], [1, true]);
    const { code, out, err } = await run(['seal', tree, ...words, '--arch', 'aarch64']);
    assert.equal(code, 0, err);
    assert.match(out, /^kernel +Image +37 kB +arm64 Image$/m);
    assert.match(await readFile(join(tree, 'release.manifest'), 'utf8'), /^arch aarch64$/m);
    const json = await run(['seal', tree, ...words, '--arch', 'aarch64', '--json']);
    assert.deepEqual(JSON.parse(json.out).kernels, [
      { path: 'Image', shape: 'arm64 Image', machine: 'aarch64' },
    ]);
    const request = await run([
      ...['request', tree, '--anchors', join(fresh, 'anchors'), '--out', join(folder, 'request')],
      ...['--arch', 'x86_64'],
    ]);
    assert.deepEqual([request.code, /is for aarch64/.test(request.err)], [1, true]);
  });
});

describe('an overlay and the machines that its release is for', async () => {
  const out = join(folder, 'overlay.img');
  await overlay({ anchors: join(keys, 'anchors'), out, now: NOW, floor: { mode: 'ram' } });
  const archive = await readFile(out);

  it('are told by its programs', () => {
    assert.equal(machineOfOverlay(archive.subarray(0, 64 * 1024)), 'x86_64');
    for (const other of [
      Buffer.alloc(0),
      archive.subarray(0, 200),
      archive.subarray(64 * 1024),
      Buffer.alloc(4096, 'bootseal/bin/busybox\0'),
    ])
      assert.equal(machineOfOverlay(other), undefined);
  });

  it('go together, or are refused', async () => {
    const own = await treeOf(bzImage(), 'x86_64', { 'bootseal-overlay.img': archive });
    assert.equal((await sealFixture(own, keys)).manifest.arch, 'x86_64');
    const other = await treeOf(arm64Image(), 'aarch64', { 'bootseal-overlay.img': archive });
    const says =
      /bootseal-overlay\.img holds programs for x86_64, and .* is for aarch64; build it with --arch aarch64\.$/;
    await assert.rejects(sealFixture(other, keys), refused('wrong-machine', says));
  });
});
