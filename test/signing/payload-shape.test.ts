import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { unlikeItsRole } from '../../src/signing/payload-shape.ts';
import { run } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { multiboot, multiboot2 } from '../fixtures/kernels.ts';
import { makeKeys } from '../fixtures/keys.ts';

const folder = await temporaryFolder();
await mkdir(join(folder, 'content'));
await writeFile(join(folder, 'content', 'file'), 'content\n');

/** What a stock tool makes of a folder, by a line of shell that writes to $OUT. */
function made(line: string): Uint8Array {
  const out = join(folder, 'out');
  execFileSync('sh', ['-ec', `rm -f "$OUT"; ${line}`], { cwd: folder, env: { ...process.env, OUT: out } });
  return readFileSync(out).subarray(0, 64 * 1024);
}
const CPIO = '(cd content && find . | cpio -o -H newc --quiet)';
/** Bytes that are nothing. */
const noise = Buffer.alloc(8192, 'neither one thing nor another\0');

function kernel(at: number, magic: string): Uint8Array {
  const bytes = Buffer.from(noise);
  bytes.write(magic, at, 'latin1');
  return bytes;
}

describe('what starts a module', () => {
  const header = multiboot2(4096);
  it('has a Multiboot header near its beginning, packed or not', () => {
    for (const bytes of [header, gzipSync(header), multiboot(4096)])
      assert.equal(unlikeItsRole(bytes, 'kernel', true), undefined);
  });
  it('is no Linux, packed or not, and nothing with a header further on', () => {
    const late = Buffer.concat([Buffer.alloc(32 * 1024), header]);
    for (const bytes of [kernel(0x202, 'HdrS'), gzipSync(kernel(0x202, 'HdrS')), late, noise])
      assert.equal(unlikeItsRole(bytes, 'kernel', true), 'a multiboot kernel, which would start the module');
  });
  it('is a Linux as the module', () => {
    assert.equal(unlikeItsRole(kernel(0x202, 'HdrS'), 'module', true), undefined);
    assert.equal(unlikeItsRole(header, 'module', true), 'a kernel that is known here');
  });
});

describe('a payload of a known shape', () => {
  for (const [what, role, bytes] of [
    ['an archive by cpio', 'initrd', made(`${CPIO} > "$OUT"`)],
    ['the same by gzip', 'initrd', made(`${CPIO} | gzip > "$OUT"`)],
    ['the same by xz', 'initrd', made(`${CPIO} | xz --check=crc32 > "$OUT"`)],
    ['the same by zstd', 'initrd', made(`${CPIO} | zstd -q > "$OUT"`)],
    ['a squashfs image', 'rootfs', made('mksquashfs content "$OUT" -quiet -no-progress >/dev/null')],
    ['an ext4 image', 'rootfs', made('truncate -s 1M "$OUT"; /sbin/mke2fs -q -t ext4 "$OUT"')],
    ['a bzImage', 'kernel', kernel(0x202, 'HdrS')],
    ['an arm64 Image', 'kernel', kernel(56, 'ARM\x64')],
    ['an EFI application', 'kernel', kernel(0, 'MZ')],
    ['a Multiboot image', 'kernel', multiboot(4096)],
    ['anything as a file', 'file', noise],
  ] as const) {
    it(`is like its role: ${what}`, () => assert.equal(unlikeItsRole(bytes, role), undefined));
  }

  for (const role of ['kernel', 'initrd', 'overlay', 'rootfs'] as const) {
    it(`is not any bytes, as ${role}, nor none`, () => {
      assert.ok(unlikeItsRole(noise, role));
      assert.ok(unlikeItsRole(new Uint8Array(), role));
    });
  }
});

it('one of no known shape is sealed, and whoever signs it is told', async () => {
  const keys = await makeKeys(join(folder, 'keys'), { now: Date.now() });
  const tree = join(folder, 'tree');
  await mkdir(tree);
  await writeFile(join(tree, 'vmlinuz'), noise);
  await writeFile(join(tree, 'initrd.img'), made(`${CPIO} > "$OUT"`));
  const words = [
    '--release',
    'a/2026.11.01',
    '--kernel',
    'vmlinuz',
    '--initrd',
    'initrd.img',
    '--cmdline',
    'quiet',
  ];
  const { code, err } = await run(['seal', tree, '--keys', keys, ...words]);
  assert.equal(code, 0, err);
  assert.match(err, /Warning: vmlinuz is sealed as kernel, and is not a kernel that is known here\.\n/);
  assert.doesNotMatch(err, /initrd\.img is sealed/);
});
