import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  decodePackets,
  encodeMpi,
  encodePacket,
  PACKET,
  PacketCursor,
} from '../../../src/formats/openpgp/openpgp-packet.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

describe('OpenPGP packets', () => {
  // RFC 9580 §4.2.1.4 gives the lengths 100, 1723 and 100000.
  const headers: readonly [string, string, number, number][] = [
    ['an old header of one byte', '98 64', 6, 100],
    ['an old header of two bytes', '99 06bb', 6, 1723],
    ['an old header of four bytes', '9a 000186a0', 6, 100_000],
    ['a new header of one byte', 'c6 64', 6, 100],
    ['the largest new header of one byte', 'c2 bf', 2, 191],
    ['the smallest new header of two bytes', 'c2 c000', 2, 192],
    ['a new header of two bytes', 'c6 c5fb', 6, 1723],
    ['the largest new header of two bytes', 'c6 dfff', 6, 8383],
    ['a new header of five bytes', 'c6 ff000186a0', 6, 100_000],
    ['a type that only new headers have', 'd5 01', 21, 1],
  ];
  for (const [name, header, tag, length] of headers) {
    it(`are read with ${name}`, () => {
      const wire = Buffer.concat([bytes(header), Buffer.alloc(length, 0x5a)]);
      const [packet, ...more] = decodePackets(wire, 1);
      assert.deepEqual(more, []);
      assert.deepEqual([packet?.tag, packet?.body.length], [tag, length]);
      assert.equal(hex(packet?.raw ?? bytes('')), hex(wire));
      assert.throws(() => decodePackets(wire.subarray(0, -1), 1), Malformed);
    });
  }

  it('are written with the old headers that GRUB reads', () => {
    for (const [length, header] of [
      [0, '8800'],
      [255, '88ff'],
      [256, '890100'],
      [65_535, '89ffff'],
      [65_536, '8a00010000'],
    ] as const) {
      assert.equal(
        hex(encodePacket(PACKET.signature, new Uint8Array(length)).subarray(0, header.length / 2)),
        header,
      );
    }
    assert.throws(
      () => encodePacket(PACKET.userAttribute, new Uint8Array()),
      malformed(/no old-format header/),
    );
  });

  it('read back as they were written, many in a row', () => {
    const packet = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.uint8Array({ maxLength: 400 }));
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 6 }), (packets) => {
        const wire = Buffer.concat(packets.map(([tag, body]) => encodePacket(tag, body)));
        const found = decodePackets(wire, 6).map(({ tag, body }) => [tag, Uint8Array.from(body)]);
        assert.deepEqual(found, packets);
      }),
    );
  });

  const refused: Readonly<Record<string, [string, RegExp]>> = {
    'a first byte that is no header': ['00', /no packet header/],
    text: [hex(Buffer.from('-----BEGIN PGP')), /no packet header/],
    'a partial length, which streamed data has': ['c2 e1 aabb 00', /partial length/],
    'the largest partial length': ['cb fe', /partial length/],
    'an indeterminate length': ['8b aabb', /indeterminate length/],
    'a header alone': ['c6', /ends in mid-field/],
    'a length cut short': ['9a 0001', /ends in mid-field/],
    'a new length cut short': ['c6 c5', /ends in mid-field/],
    'four gigabytes that are not there': ['9a ffffffff', /runs past the end/],
    'four gigabytes behind a new header': ['c6 ffffffffff aa', /runs past the end/],
    'a byte after the last packet': ['8800 00', /no packet header/],
  };
  for (const [name, [wire, fact]] of Object.entries(refused)) {
    it(`are refused for ${name}`, () => assert.throws(() => decodePackets(bytes(wire), 9), malformed(fact)));
  }

  it('are as many as the reader expects, and no more', () => {
    assert.equal(decodePackets(bytes('8800 8800'), 2).length, 2);
    assert.throws(() => decodePackets(bytes('8800 8800 8800'), 2), malformed(/more than 2 packets/));
    assert.deepEqual(decodePackets(bytes(''), 0), []);
  });

  it('never break their reader with a byte changed', () => {
    const wire = Buffer.concat([encodePacket(2, Buffer.alloc(20, 0xb4)), encodePacket(6, Buffer.alloc(300))]);
    assert.ok(demandFlipsHandled((octets) => decodePackets(octets, 9), wire) > 8);
  });
});

describe('OpenPGP numbers', () => {
  // RFC 9580 §3.2.
  for (const [value, wire] of [
    ['01', '000101'],
    ['01ff', '000901ff'],
    ['', '0000'],
    ['00', '0000'],
    ['0001ff', '000901ff'],
    ['80', '000880'],
  ] as const) {
    it(`spell ${value || 'nothing'} as ${wire}`, () => {
      assert.equal(hex(encodeMpi(bytes(value))), wire);
      assert.equal(hex(new PacketCursor(bytes(wire)).mpi()), value.replace(/^(00)+/, ''));
    });
  }

  it('read back as they were written, leading zeros aside', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (value) => {
        const cursor = new PacketCursor(encodeMpi(value));
        assert.equal(hex(cursor.mpi()), hex(value).replace(/^(00)+/, ''));
        cursor.end();
      }),
    );
  });

  for (const wire of [
    '',
    '00',
    '0001',
    '0009 01',
    '0009 00ff',
    '0008 01',
    '0001 02',
    '0009 0200',
    'ffff 80',
  ]) {
    it(`refuse ${wire || 'nothing'}`, () =>
      assert.throws(() => new PacketCursor(bytes(wire)).mpi(), Malformed));
  }
});

describe('a cursor over a packet', () => {
  it('gives fields in order and knows where it is', () => {
    const cursor = new PacketCursor(bytes('01 0203 04050607 aabb'));
    assert.equal(cursor.octet(), 1);
    assert.equal(cursor.unsigned(2), 0x0203);
    assert.equal(cursor.unsigned(4), 0x04050607);
    assert.equal(cursor.at, 7);
    assert.throws(() => cursor.end(), malformed(/trailing bytes in a packet/));
    assert.throws(() => cursor.take(3), malformed(/ends in mid-field/));
    assert.equal(hex(cursor.take(2)), 'aabb');
    assert.equal(cursor.done, true);
    cursor.end();
    assert.throws(() => cursor.octet(), malformed(/ends in mid-field/));
    assert.equal(new PacketCursor(bytes('ffffffff')).unsigned(4), 0xffffffff);
  });
});
