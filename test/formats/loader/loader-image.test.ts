import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { decodeBareLzma } from '../../../src/formats/archive/lzma.ts';
import { decodeGrubCore } from '../../../src/formats/loader/grub-core.ts';
import { readLoaderImage } from '../../../src/formats/loader/loader-image.ts';

/** Debian's loaders, which the prerequisites of the lab bring. */
const IPXE = '/usr/lib/ipxe';
const STUB = '/usr/lib/systemd/boot/efi';

describe('what a loader’s bytes tell', () => {
  it('of Debian’s iPXE: its version, its firmware, and that it cannot verify, packed or not', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as dpkg writes a field
    const version = execFileSync('dpkg-query', ['-W', '-f', '${Version}', 'ipxe']).toString();
    for (const [file, firmware, arch] of [
      ['undionly.kpxe', 'BIOS', undefined],
      ['ipxe.lkrn', 'BIOS', undefined],
      ['virtio-net.rom', 'option ROM', undefined],
      ['ipxe.efi', 'UEFI', 'x86_64'],
      ['snponly.efi', 'UEFI', 'x86_64'],
    ] as const) {
      const image = readLoaderImage(readFileSync(`${IPXE}/${file}`));
      assert.deepEqual([image.kind, image.firmware, image.arch], ['ipxe', firmware, arch], file);
      assert.equal(image.version, version, file);
      assert.deepEqual(
        [image.ipxe?.imgverify, image.ipxe?.embedded, image.grub],
        [false, false, undefined],
        file,
      );
    }
  });

  it('of systemd’s: which is which, and the version', () => {
    const stub = readLoaderImage(readFileSync(`${STUB}/linuxx64.efi.stub`));
    const boot = readLoaderImage(readFileSync(`${STUB}/systemd-bootx64.efi`));
    assert.deepEqual([stub.kind, boot.kind], ['systemd-stub', 'systemd-boot']);
    assert.match(stub.version ?? '', /^\d{3}/);
    assert.equal(stub.version, boot.version);
  });

  it('of anything else: nothing, and it never throws', () => {
    for (const bytes of [
      new Uint8Array(),
      new Uint8Array(100_000),
      Buffer.from('#!ipxe\nshell\n'),
      Buffer.from('mimg'.repeat(1000)),
      readFileSync('/bin/true'),
    ])
      assert.deepEqual([readLoaderImage(bytes).kind, readLoaderImage(bytes).firmware], ['other', undefined]);
    // Cut at many lengths, and with one bit changed at many places.
    const whole = readFileSync(`${IPXE}/undionly.kpxe`);
    for (let at = 0; at < whole.length; at += 4099) {
      readLoaderImage(whole.subarray(0, at));
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 1;
      readLoaderImage(changed);
    }
  });

  it('of a certificate that is asked for: whether its digest stands in an iPXE', () => {
    const sha256 = 'ab'.repeat(32);
    const bytes = readFileSync(`${IPXE}/ipxe.efi`);
    assert.deepEqual(readLoaderImage(bytes, [sha256]).ipxe?.roots, []);
    // Where the code has room for it.
    Buffer.from(sha256, 'hex').copy(bytes, bytes.length - 64);
    assert.deepEqual(readLoaderImage(bytes, [sha256]).ipxe?.roots, [sha256]);
  });
});

describe('a bare LZMA stream', () => {
  it('is read as far as it goes, as xz wrote it', () => {
    const content = Buffer.from(
      Array.from({ length: 5000 }, (_, index) => `line ${index * 7919}\n`).join(''),
    );
    const raw = execFileSync('xz', ['--format=raw', '--lzma1=lc=2,lp=0,pb=0,dict=1MiB', '-c'], {
      input: content,
    });
    const way = { literalBits: 2, literalPositions: 0, positionBits: 0 };
    const all = Buffer.from(decodeBareLzma(raw, 0, way, 1 << 20));
    assert.deepEqual(all.subarray(0, content.length), content);
    assert.deepEqual(Buffer.from(decodeBareLzma(raw, 0, way, 1000)), content.subarray(0, 1000));
    const cut = Buffer.from(decodeBareLzma(raw.subarray(0, raw.length >> 1), 0, way, 1 << 20));
    assert.ok(cut.length > 1000 && cut.length < content.length);
    assert.deepEqual(cut, content.subarray(0, cut.length));
  });
});

describe('what an image of GRUB carries', () => {
  it('is refused where a length is none', () => {
    const header = (magic: string, offset: number, size: number) => {
      const bytes = Buffer.alloc(64);
      bytes.write(magic, 0, 'latin1');
      bytes.writeUInt32LE(offset, 4);
      bytes.writeUInt32LE(size, 8);
      return bytes;
    };
    assert.equal(decodeGrubCore(header('nimg', 12, 12)), undefined);
    assert.equal(decodeGrubCore(header('mimg', 12, 4000)), undefined);
    assert.equal(decodeGrubCore(header('mimg', 4000, 12)), undefined);
    const empty = decodeGrubCore(header('mimg', 12, 12));
    assert.deepEqual([empty?.config, empty?.keys, empty?.files.size], ['', [], 0]);
    // An object of no length would be read for ever.
    assert.equal(decodeGrubCore(header('mimg', 12, 40)), undefined);
  });
});
