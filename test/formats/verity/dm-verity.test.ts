import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  decodeRootHash,
  decodeSuperblock,
  encodeRootHash,
  encodeSuperblock,
  MAX_DATA_BLOCKS,
  type VeritySuperblock,
  verityUuid,
} from '../../../src/formats/verity/dm-verity.ts';
import { demandCutsRefused, demandNothingAfter, malformed } from '../strict.ts';

const SUPERBLOCK: VeritySuperblock = {
  uuid: '9cf0c951-cc40-8b2b-903e-71a9364f63b4',
  dataBlocks: 256,
  salt: new Uint8Array(0),
};
const BYTES = Buffer.from(encodeSuperblock(SUPERBLOCK));
const ROOT = Buffer.from('9cf0c951cc408b2bd03e71a9364f63b4d1a10d1de0d5c28f34b2cc86dc2c1b27', 'hex');
const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

describe('the superblock', () => {
  it('decode undoes encode', () => {
    fc.assert(
      fc.property(
        octets(16),
        fc.maxSafeNat().map((n) => (n % MAX_DATA_BLOCKS) + 1),
        fc.uint8Array({ maxLength: 256 }),
        (id, dataBlocks, salt) => {
          const uuid = Buffer.from(id)
            .toString('hex')
            .replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
          assert.deepEqual(decodeSuperblock(encodeSuperblock({ uuid, dataBlocks, salt })), {
            uuid,
            dataBlocks,
            salt,
          });
        },
      ),
    );
  });

  it('is refused at any length but a block', () => {
    demandCutsRefused(decodeSuperblock, BYTES);
    demandNothingAfter(decodeSuperblock, BYTES);
  });

  it('with a byte changed is refused, or says something else that is written in just that way', () => {
    let understood = 0;
    for (let at = 0; at < BYTES.length; at++) {
      for (const bit of [0x01, 0x10, 0x80]) {
        const changed = Buffer.from(BYTES);
        changed[at] = (changed[at] ?? 0) ^ bit;
        let decoded: VeritySuperblock;
        try {
          decoded = decodeSuperblock(changed);
        } catch (error) {
          assert.ok(error instanceof Malformed, `byte ${at}`);
          continue;
        }
        understood++;
        assert.notDeepEqual(decoded, SUPERBLOCK, `byte ${at}`);
        assert.deepEqual(Buffer.from(encodeSuperblock(decoded)), changed, `byte ${at}`);
      }
    }
    // Any UUID; salts of 1, 16, 128 and (256 + 0) bytes; most numbers of blocks.
    assert.ok(understood > 48 && understood < 80, `${understood} understood`);
  });

  const set = (at: number, ...values: number[]) => {
    const bytes = Buffer.from(BYTES);
    bytes.set(values, at);
    return bytes;
  };
  for (const [what, bytes, says] of [
    ['another magic', set(0, 0x56), /no magic/],
    ['version 2', set(8, 2), /version is not 1/],
    ["Chrome OS's hash type", set(12, 0), /hash type is not 1/],
    ['sha512', set(32, ...Buffer.from('sha512')), /hash algorithm is not sha256/],
    ['more behind the name of the algorithm', set(63, 1), /hash algorithm is not sha256/],
    ['data blocks of 512 bytes', set(64, 0, 2), /data block size is not 4096/],
    ['hash blocks of 8192 bytes', set(68, 0, 0x20), /hash block size is not 4096/],
    ['no data block', set(72, 0, 0), /0 data blocks/],
    ['more data blocks than a number can count', set(78, 1), /data blocks/],
    ['a salt of 257 bytes', set(80, 1, 1), /a salt of 257 bytes/],
    ['a salt longer than its length says', set(88, 1), /padding is not zeros/],
    ['bytes behind the fields', set(511, 1), /padding is not zeros/],
    ['bytes in the rest of the block', set(4095, 1), /padding is not zeros/],
  ] as const) {
    it(`with ${what} is refused`, () => {
      assert.throws(() => decodeSuperblock(bytes), malformed(says));
    });
  }

  for (const [what, change, says] of [
    ['no data block', { dataBlocks: 0 }, /0 data blocks/],
    ['half a data block', { dataBlocks: 0.5 }, /0.5 data blocks/],
    ['too many data blocks', { dataBlocks: MAX_DATA_BLOCKS + 1 }, /data blocks/],
    ['a salt of 257 bytes', { salt: new Uint8Array(257) }, /a salt of 257 bytes/],
    ['a UUID in capitals', { uuid: SUPERBLOCK.uuid.toUpperCase() }, /UUID/],
    ['a UUID that is none', { uuid: 'uuid' }, /UUID/],
  ] as const) {
    it(`with ${what} is not written`, () => {
      assert.throws(() => encodeSuperblock({ ...SUPERBLOCK, ...change }), malformed(says));
    });
  }
});

describe('the UUID', () => {
  it("is the root hash's first bytes with version 8 and the variant of RFC 9562", () => {
    assert.equal(verityUuid(ROOT), '9cf0c951-cc40-8b2b-903e-71a9364f63b4');
    assert.equal(verityUuid(Buffer.alloc(32, 0xff)), 'ffffffff-ffff-8fff-bfff-ffffffffffff');
    assert.equal(verityUuid(new Uint8Array(32)), '00000000-0000-8000-8000-000000000000');
  });

  it('leaves the root hash as it was', () => {
    const root = Buffer.alloc(32, 0xff);
    verityUuid(root);
    assert.deepEqual(root, Buffer.alloc(32, 0xff));
  });
});

describe('the root hash in a file', () => {
  const text = '9cf0c951cc408b2bd03e71a9364f63b4d1a10d1de0d5c28f34b2cc86dc2c1b27';

  it('is 64 digits without a newline, and decode undoes encode', () => {
    assert.equal(Buffer.from(encodeRootHash(ROOT)).toString('latin1'), text);
    fc.assert(
      fc.property(octets(32), (root) => assert.deepEqual(decodeRootHash(encodeRootHash(root)), root)),
    );
  });

  it('is refused at any other length', () => {
    demandCutsRefused(decodeRootHash, Buffer.from(text));
    demandNothingAfter(decodeRootHash, Buffer.from(text));
  });

  it('with any byte changed is refused or another root hash', () => {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at++) {
      for (let octet = 0; octet < 256; octet++) {
        const changed = Buffer.from(bytes);
        changed[at] = octet;
        if (/^[0-9a-f]$/.test(String.fromCharCode(octet))) {
          assert.deepEqual(Buffer.from(encodeRootHash(decodeRootHash(changed))), changed);
        } else assert.throws(() => decodeRootHash(changed), Malformed, `${octet} at ${at}`);
      }
    }
  });

  for (const [what, odd] of [
    ['a newline', `${text}\n`],
    ['a blank before it', ` ${text}`],
    ['a newline in the place of a digit', `${text.slice(0, 63)}\n`],
    ['capitals', text.toUpperCase()],
    ['a prefix', `0x${text.slice(2)}`],
    ['twice its length', text + text],
  ] as const) {
    it(`with ${what} is refused`, () => {
      assert.throws(() => decodeRootHash(Buffer.from(odd, 'latin1')), malformed(/64 lower-case/));
    });
  }

  it('of another length is not written', () => {
    assert.throws(() => encodeRootHash(new Uint8Array(20)), malformed(/20 bytes/));
    assert.throws(() => verityUuid(new Uint8Array(31)), malformed(/31 bytes/));
  });
});
