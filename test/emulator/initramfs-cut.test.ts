import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import { readInitramfs } from '../../src/emulator/initramfs.ts';
import { archive, COMPRESS, file } from '../fixtures/odd-initramfs/parts.ts';

/** Damage and greed, the same for every compression. How bombs end is in test/interop/initramfs.test.ts. */
const MIB = 2 ** 20;
const SMALL = archive(file('a', 'abcdefgh'.repeat(9)), file('b', 'x'));
const MALFORMED = { name: 'Refusal', code: 'malformed' };

for (const [name, compress] of Object.entries(COMPRESS)) {
  describe(`an initramfs of ${name}`, () => {
    const whole = compress(SMALL);

    it('is refused cut at each byte, alone and behind another', async () => {
      assert.deepEqual((await readInitramfs([whole])).list('/'), ['a', 'b', 'dev', 'root']);
      for (let length = 1; length < whole.length; length++) {
        const cut = whole.subarray(0, length);
        await assert.rejects(readInitramfs([cut]), MALFORMED, `cut at ${length}`);
        await assert.rejects(readInitramfs([SMALL, cut]), MALFORMED, `cut at ${length} behind another`);
      }
    });

    it('is refused with a byte too much behind it', async () => {
      for (const junk of ['x', '\x01', '\xff\xff\xff\xff']) {
        const image = Buffer.concat([whole, Buffer.from(junk, 'latin1')]);
        await assert.rejects(readInitramfs([image]), MALFORMED, JSON.stringify(junk));
      }
    });

    it('gives no half of a tree where its archive ends early', async () => {
      for (const length of [50, 111, SMALL.length - 130, SMALL.length - 1]) {
        await assert.rejects(readInitramfs([compress(SMALL.subarray(0, length))]), MALFORMED, String(length));
      }
    });
  });
}

/** Headers that ask for as much memory as their format can say, before some bytes of content. */
const GREEDY: Readonly<Record<string, () => Buffer>> = {
  xz: () => {
    const bytes = COMPRESS.xz(SMALL);
    // Filter LZMA2 with its one property, the dictionary's size: 4 GiB.
    assert.deepEqual([...bytes.subarray(14, 16)], [0x21, 0x01]);
    bytes[16] = 40;
    const end = 12 + ((bytes[12] ?? 0) + 1) * 4 - 4;
    bytes.writeUInt32LE(crc32(bytes.subarray(12, end)), end);
    return bytes;
  },
  zstd: () => {
    // No content size, and a window of 3.75 TiB.
    const bytes = Buffer.concat([Buffer.from('28b52ffd00ff', 'hex'), Buffer.alloc(3)]);
    bytes.writeUIntLE(1 | (SMALL.length << 3), 6, 3);
    return Buffer.concat([bytes, SMALL]);
  },
  lzma: () => {
    const bytes = COMPRESS.lzma(SMALL);
    bytes.writeUInt32LE(0xffff_ff00, 1);
    return bytes;
  },
  lzo: () => {
    const bytes = COMPRESS.lzo(SMALL);
    bytes.writeUInt32BE(0xffff_ffff, 38);
    return bytes;
  },
  lz4: () => {
    const bytes = COMPRESS.lz4(SMALL);
    bytes.writeUInt32LE(0xffff_ffff, 4);
    return bytes;
  },
};

describe('an initramfs that asks for much memory', () => {
  for (const [name, make] of Object.entries(GREEDY)) {
    it(`is refused, and does not get it: ${name}`, async () => {
      const bytes = make();
      const before = process.resourceUsage().maxRSS;
      await assert.rejects(readInitramfs([bytes]), MALFORMED);
      const grown = process.resourceUsage().maxRSS * 1024 - before * 1024;
      assert.ok(grown < 64 * MIB, `memory grew by ${grown} bytes`);
    });
  }
});
