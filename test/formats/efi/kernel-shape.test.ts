import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { kernelFacts, kernelText, startsOn } from '../../../src/formats/efi/kernel-shape.ts';
import {
  arm64Image,
  bzImage,
  efiProgram,
  elf,
  multiboot,
  multiboot2,
  riscvImage,
  zboot,
} from '../../fixtures/kernels.ts';

const KERNELS = [
  ['bzImage', 'x86', bzImage()],
  ['arm64 Image', 'aarch64', arm64Image()],
  ['RISC-V Image', 'riscv64', riscvImage()],
  ['EFI zboot', 'aarch64', zboot(0xaa64)],
  ['EFI zboot', 'loongarch64', zboot(0x6264)],
  ['EFI program', 'x86', efiProgram(0x8664)],
  ['EFI program', 'x86', efiProgram(0x14c)],
  ['EFI program', 'aarch64', efiProgram(0xaa64)],
  ['EFI program', 'arm', efiProgram(0x1c2)],
  ['EFI program', undefined, efiProgram(0xbeef)],
  ['Multiboot', 'x86', multiboot(8180)],
  ['Multiboot2', 'x86', multiboot2(32_744)],
  ['ELF', 'x86', elf(62)],
  ['ELF', 'x86', elf(3)],
  ['ELF', 'aarch64', elf(183)],
  ['ELF', 'riscv64', elf(243)],
  ['ELF', undefined, elf(22)],
] as const;

describe('the shape of a kernel', () => {
  for (const [index, [shape, machine, bytes]] of KERNELS.entries()) {
    it(`is told by its bytes: ${shape} for ${machine} (${index})`, () => {
      assert.deepEqual(kernelFacts(bytes), { shape, machine, packed: undefined });
      // A loader may have put them anywhere in a buffer.
      const inside = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3);
      assert.deepEqual(kernelFacts(inside), { shape, machine, packed: undefined });
    });

    it(`is the same in gzip, whole or cut: ${shape} for ${machine} (${index})`, () => {
      const packed = gzipSync(bytes);
      assert.deepEqual(kernelFacts(packed), { shape, machine, packed: 'gzip' });
      // The end of a packed file is far behind what is looked at.
      const long = gzipSync(Buffer.concat([bytes, noise(512 * 1024)]), { level: 1 });
      assert.deepEqual(kernelFacts(long.subarray(0, 64 * 1024)), { shape, machine, packed: 'gzip' });
    });
  }

  it('is said in few words', () => {
    assert.equal(
      kernelText({ shape: 'arm64 Image', machine: 'aarch64', packed: 'gzip' }),
      'arm64 Image, gzip',
    );
    assert.equal(kernelText({ shape: 'bzImage', machine: 'x86', packed: undefined }), 'bzImage');
  });

  for (const [what, bytes] of [
    ['nothing', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(65_536)],
    ['a Multiboot word whose checksum is wrong', multiboot(4096, 1)],
    ['a Multiboot header beyond its 8192 bytes', multiboot(8184)],
    ['a Multiboot header between words', multiboot(4098)],
    ['a Multiboot2 word whose checksum is wrong', multiboot2(4096, 1)],
    ['a Multiboot2 header at an odd word', multiboot2(4100)],
    ['a Multiboot2 header for another processor', multiboot2(4096, 0, 4)],
    ['gzip of something else', gzipSync(noise(4096))],
    ['gzip inside gzip', gzipSync(gzipSync(arm64Image()))],
    ['what only begins as gzip does', Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3])],
  ] as const) {
    it(`is not seen in ${what}`, () => assert.equal(kernelFacts(bytes), undefined));
  }

  it('is told, or not, of every beginning of each, without a fault', () => {
    for (const [, machine, bytes] of KERNELS) {
      for (let length = 0; length <= 1024; length += 1) {
        const facts = kernelFacts(bytes.subarray(0, length));
        assert.ok(facts?.machine === undefined || facts.machine === machine);
      }
    }
  });
});

/** Which architectures of manifests a kernel's bytes allow. */
it('a kernel starts on its own machines, and it is not known of others', () => {
  const on = (bytes: Uint8Array, arch: string) => {
    const facts = kernelFacts(bytes);
    assert.ok(facts);
    return startsOn(facts, arch);
  };
  for (const arch of ['x86_64', 'i386', 'i686']) assert.equal(on(bzImage(), arch), true);
  for (const arch of ['aarch64', 'arm64', 'amd64', 'riscv64']) assert.equal(on(bzImage(), arch), false);
  assert.equal(on(arm64Image(), 'aarch64'), true);
  for (const arch of ['x86_64', 'arm64', 'armv7l']) assert.equal(on(arm64Image(), arch), false);
  assert.equal(on(efiProgram(0x1c2), 'armv7l'), true);
  assert.equal(on(efiProgram(0x1c2), 'aarch64'), false);
  assert.equal(on(elf(243), 'riscv64'), true);
  assert.equal(on(efiProgram(0xbeef), 'x86_64'), undefined);
});

/** Bytes that do not shrink, the same each time. */
function noise(octets: number): Buffer {
  const bytes = Buffer.alloc(octets);
  for (let at = 0, state = 1; at < octets; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
