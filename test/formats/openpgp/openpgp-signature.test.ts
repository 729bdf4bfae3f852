import assert from 'node:assert/strict';
import { createHash, randomBytes, verify } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeOpenpgpKey } from '../../../src/formats/openpgp/openpgp-key.ts';
import { encodePacket, PACKET } from '../../../src/formats/openpgp/openpgp-packet.ts';
import {
  decodeDetachedOpenpgp,
  decodeSignature,
  documentSignatureFields,
  encodeSignature,
  find,
  signatureTrailer,
} from '../../../src/formats/openpgp/openpgp-signature.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

/** RFC 9580 §A.2: the sample signature over "OpenPGP", and its key of §A.1. */
const R = '56f90cca98e2102637bd983fdb16c131dfd27ed82bf4dde5606e0d756aed3366';
const S = 'd09c4fa11527f038e0f57f2201d82f2ea2c9033265fa6ceb489e854bae61b404';
const SAMPLE = bytes(
  `885e 04 00 16 08 0006 05 02 55f95f95 000a 09 10 8cfde12197965a9a f622 00ff ${R} 0100 ${S}`,
);
const KEY = decodeOpenpgpKey(
  bytes(
    '04 53f35f0b 16 09 2b06010401da470f01 0107 40 3f098994bdd916ed4053197934e4a87c80733a1280d62f8010992e43ee3b2406',
  ),
);

/** The body of a signature packet by RSA with these subpackets. */
function body(hashed: string, unhashed = '', rest = '0000 0001 01', head = '04 00 01 0a'): Buffer {
  const area = (text: string) => {
    const octets = bytes(text);
    return Buffer.concat([Uint8Array.of(octets.length >> 8, octets.length & 0xff), octets]);
  };
  return Buffer.concat([bytes(head), area(hashed), area(unhashed), bytes(rest)]);
}

describe('an OpenPGP signature', () => {
  it('is the sample of RFC 9580 §A.2', () => {
    const [signature, ...more] = decodeDetachedOpenpgp(SAMPLE);
    assert.ok(signature);
    assert.deepEqual(more, []);
    assert.deepEqual([signature.type, signature.algorithm, signature.hash], [0, 22, 'sha256']);
    assert.equal(signature.created, Date.parse('2015-09-16T12:24:53Z'));
    assert.equal(signature.issuerKeyId, KEY.keyId);
    assert.equal(signature.issuerFingerprint, undefined);
    assert.equal(signature.expiresAfter, undefined);
    assert.equal(signature.left16, 0xf622);
    assert.deepEqual(signature.mpis.map(hex), [R, S]);
    const digest = createHash('sha256').update('OpenPGP').update(signatureTrailer(signature.hashed)).digest();
    assert.equal(digest.readUInt16BE(), 0xf622);
    assert.ok(KEY.object);
    assert.equal(verify(null, digest, KEY.object, Buffer.concat(signature.mpis)), true);
  });

  it('hashes its fields and their length after the content (RFC 9580 §5.2.4)', () => {
    assert.equal(
      hex(signatureTrailer(bytes('04001608000605 0255f95f95'))),
      '0400160800060502' + '55f95f95' + '04ff0000000c',
    );
    assert.equal(hex(signatureTrailer(new Uint8Array(0x12345)).subarray(-6)), '04ff00012345');
  });

  it('of a document reads back as it was written', () => {
    const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    const second = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(octets(20), second, octets(64), octets(256), (fingerprint, created, digest, value) => {
        const fields = documentSignatureFields(hex(fingerprint), created * 1000);
        const keyId = hex(fingerprint.subarray(12));
        const [signature] = decodeDetachedOpenpgp(encodeSignature(fields, keyId, digest, value));
        assert.ok(signature);
        assert.deepEqual([signature.type, signature.algorithm, signature.hash], [0, 1, 'sha512']);
        assert.equal(hex(signature.hashed), hex(fields));
        assert.deepEqual([signature.issuerFingerprint, signature.issuerKeyId], [hex(fingerprint), keyId]);
        assert.equal(signature.created, created * 1000);
        assert.equal(signature.left16, Buffer.from(digest).readUInt16BE());
        assert.deepEqual(signature.mpis.map(hex), [hex(value).replace(/^(00)+/, '')]);
        // 33 and 2 hashed, 16 not: GRUB finds the key id nowhere else.
        assert.deepEqual(
          signature.subpackets.map(({ type, hashed, critical }) => [type, hashed, critical]),
          [
            [33, true, false],
            [2, true, false],
            [16, false, false],
          ],
        );
      }),
    );
  });

  it('has subpackets with lengths of one, two and five bytes (RFC 9580 §5.2.3.7)', () => {
    const long = '14'.repeat(200);
    const signature = decodeSignature(body(`02 9901 c009 14${long} ff00000002 9b03`));
    assert.deepEqual(
      signature.subpackets.map(({ type, critical, body: content }) => [type, critical, content.length]),
      [
        [25, true, 1],
        [20, false, 200],
        [27, true, 1],
      ],
    );
  });

  it('is as old, and lives as long, as its hashed area says; the other area anyone may write', () => {
    const times = '05 02 00000010 05 03 00000020';
    const hashed = decodeSignature(body(times));
    assert.deepEqual([hashed.created, hashed.expiresAfter], [16_000, 32]);
    const unhashed = decodeSignature(body('', times));
    assert.deepEqual([unhashed.created, unhashed.expiresAfter], [undefined, undefined]);
    assert.equal(decodeSignature(body('04 02 000010')).created, undefined, 'three bytes are no time');
  });

  it('names its issuer in either area, the hashed one first', () => {
    const [a, b] = ['aa'.repeat(20), 'bb'.repeat(20)];
    assert.equal(decodeSignature(body(`16 21 04 ${a}`, `16 21 04 ${b}`)).issuerFingerprint, a);
    assert.equal(decodeSignature(body('', `16 21 04 ${b}`)).issuerFingerprint, b);
    assert.equal(decodeSignature(body('', `22 21 06 ${b}${'bb'.repeat(12)}`)).issuerFingerprint, undefined);
    assert.equal(decodeSignature(body('', '09 10 1122334455667788')).issuerKeyId, '1122334455667788');
    assert.equal(decodeSignature(body('', '05 10 11223344')).issuerKeyId, undefined);
    const { subpackets } = decodeSignature(body('02 1b 03', '02 1b 01'));
    assert.deepEqual([...(find(subpackets, 27)?.body ?? [])], [3]);
    assert.equal(find(subpackets, 32), undefined);
  });

  it('by Ed25519 of RFC 9580 carries 64 bytes', () => {
    const native = randomBytes(64);
    const signature = decodeSignature(body('', '', `0000 ${hex(native)}`, '04 00 1b 0a'));
    assert.deepEqual(signature.mpis.map(hex), [hex(native)]);
    for (const length of [63, 65]) {
      const rest = `0000 ${'aa'.repeat(length)}`;
      assert.throws(
        () => decodeSignature(body('', '', rest, '04 00 1b 0a')),
        malformed(/mid-field|trailing/),
      );
    }
  });

  it('is refused cut, continued, and never breaks its reader', () => {
    demandCutsRefused(decodeDetachedOpenpgp, SAMPLE);
    for (const more of ['00', 'ff', '8800', '3000']) {
      assert.throws(() => decodeDetachedOpenpgp(Buffer.concat([SAMPLE, bytes(more)])), malformed(/./), more);
    }
    demandNothingAfter(decodeSignature, SAMPLE.subarray(2));
    assert.ok(demandFlipsHandled(decodeDetachedOpenpgp, SAMPLE) > 30);
  });

  const refused: Readonly<Record<string, [Buffer, RegExp]>> = {
    'of version 3': [body('', '', '0000 0001 01', '03 05 00 00'), /version 3, not 4/],
    'of version 6': [body('', '', '0000 0001 01', '06 00 01 0a'), /version 6, not 4/],
    'with a hash of no name': [body('', '', '0000 0001 01', '04 00 01 03'), /unknown hash algorithm 3/],
    'with an empty subpacket': [body('00'), /empty subpacket/],
    'with a subpacket that runs past its area': [body('09 02 00'), /mid-field/],
    'with a subpacket of four gigabytes': [body('ff ffffffff 02'), /mid-field/],
    'with an area that runs past the packet': [bytes('04 00 01 0a ffff 00'), /mid-field/],
    'with five numbers': [body('', '', '0000 000101 000101 000101 000101 000101'), /trailing bytes/],
    'with a number that has leading zeros': [body('', '', '0000 0002 01'), /MPI length/],
  };
  for (const [name, [packet, fact]] of Object.entries(refused)) {
    it(`is refused ${name}`, () => assert.throws(() => decodeSignature(packet), malformed(fact)));
  }
});

describe('a detached OpenPGP signature file', () => {
  it('holds up to sixteen signatures', () => {
    assert.equal(decodeDetachedOpenpgp(Buffer.concat(Array(16).fill(SAMPLE))).length, 16);
    assert.throws(
      () => decodeDetachedOpenpgp(Buffer.concat(Array(17).fill(SAMPLE))),
      malformed(/more than 16 packets/),
    );
  });

  const onePass = encodePacket(4, bytes('03 00 08 16 8cfde12197965a9a 01'));
  const literal = encodePacket(11, bytes('62 00 00000000 4f70656e504750'));
  const files: Readonly<Record<string, [Uint8Array, RegExp]>> = {
    'is empty': [Buffer.alloc(0), /empty signature file/],
    'is over 64 KiB': [Buffer.alloc(64 * 1024 + 1, SAMPLE), /signature file of 65537 bytes/],
    'is an opaque message: one-pass signature, data, signature': [
      Buffer.concat([onePass, literal, SAMPLE]),
      /packet type 4 in a detached signature/,
    ],
    'is an opaque message of the old kind: signature, data': [
      Buffer.concat([SAMPLE, literal]),
      /packet type 11 in a detached signature/,
    ],
    'is compressed': [encodePacket(8, bytes('00 aabb')), /packet type 8/],
    'begins with a marker packet': [
      Buffer.concat([encodePacket(PACKET.marker, Buffer.from('PGP')), SAMPLE]),
      /packet type 10/,
    ],
    'brings its own key': [
      Buffer.concat([encodePacket(PACKET.publicKey, KEY.body), SAMPLE]),
      /packet type 6 in a detached signature/,
    ],
    'is armored': [Buffer.from('-----BEGIN PGP SIGNATURE-----\n'), /armored; "gpg --dearmor"/],
  };
  for (const [name, [file, fact]] of Object.entries(files)) {
    it(`is refused where it ${name}`, () =>
      assert.throws(() => decodeDetachedOpenpgp(file), malformed(fact)));
  }
});
