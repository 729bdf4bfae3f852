import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  bitStringOctets,
  contextTag,
  DerCursor,
  type DerElement,
  der,
  derNull,
  derOid,
  derSequence,
  derSetOf,
  derTime,
  derUnsigned,
  oidText,
  openDer,
  smallInteger,
  TAG,
  unsignedInteger,
} from '../../../src/formats/asn1/der.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');

/** The one element that `bytes` are. */
function element(octets: Uint8Array): DerElement {
  const cursor = new DerCursor(octets, 'test');
  const found = cursor.next();
  cursor.end();
  return found;
}

describe('DER elements', () => {
  it('have the lengths that X.690 §8.1.3 and §10.1 spell', () => {
    const spellings: readonly [number, string][] = [
      [0, '0400'],
      [0x7f, '047f'],
      [0x80, '048180'],
      [0xff, '0481ff'],
      [0x100, '04820100'],
      [0xffff, '0482ffff'],
      [0x10000, '0483010000'],
      [0x1000000, '048401000000'],
    ];
    for (const [length, header] of spellings) {
      const encoded = der(TAG.octetString, new Uint8Array(length));
      assert.equal(hex(encoded.subarray(0, header.length / 2)), header);
      assert.equal(encoded.length, header.length / 2 + length);
      assert.equal(element(encoded).content.length, length);
    }
  });

  it('read back as they were written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x1e }), fc.uint8Array({ maxLength: 700 }), (number, content) => {
        const tag = contextTag(number, true);
        const found = element(der(tag, content.subarray(0, 3), content.subarray(3)));
        assert.equal(found.tag, tag);
        assert.deepEqual(Uint8Array.from(found.content), content);
      }),
    );
  });

  const refused: Readonly<Record<string, [string, RegExp]>> = {
    nothing: ['', /mid-element/],
    'an identifier alone': ['30', /mid-element/],
    'the indefinite length of BER': ['30 80 00 00', /length not in DER/],
    'a length of five bytes': ['30 85 01 00 00 00 00', /length not in DER/],
    'a length of 127 bytes': [`30 ff ${'01'.repeat(127)}`, /length not in DER/],
    'a length that ends too early': ['30 82 01', /mid-length/],
    'a short length spelled long': ['04 81 01 aa', /shortest form/],
    'a length with a leading zero': [`04 82 00 80 ${'00'.repeat(128)}`, /shortest form/],
    'four gigabytes that are not there': ['30 84 ff ff ff ff', /4294967295 bytes runs past the end/],
    'one byte that is not there': ['04 02 aa', /2 bytes runs past the end/],
    'a tag of several bytes': ['1f 81 01 00', /multi-octet tag/],
  };
  for (const [name, [octets, fact]] of Object.entries(refused)) {
    it(`refuse ${name}`, () => assert.throws(() => element(bytes(octets)), malformed(fact)));
  }

  it('are refused cut, continued, and never break the reader', () => {
    const sample = derSequence(
      derOid('1.2.840.113549.1.7.2'),
      derNull(),
      derSequence(derUnsigned(bytes('80'))),
    );
    const walk = (octets: Uint8Array) => {
      const sequence = openDer(octets, TAG.sequence, 'test');
      oidText(sequence.next(TAG.oid));
      sequence.next(TAG.null);
      unsignedInteger(sequence.enter(TAG.sequence).next(TAG.integer), 'test');
      sequence.end();
    };
    demandCutsRefused(walk, sample);
    demandNothingAfter(walk, sample);
    assert.ok(demandFlipsHandled(walk, sample) > sample.length);
  });

  it('are told apart by their tags', () => {
    assert.throws(() => openDer(bytes('3100'), TAG.sequence, 'Name'), malformed(/Name: tag 0x31 where 0x30/));
    const cursor = new DerCursor(bytes('0500 0403616263'), 'test');
    assert.equal(cursor.optional(TAG.boolean), undefined);
    assert.equal(cursor.optional(TAG.null)?.content.length, 0);
    assert.equal(cursor.peek(), TAG.octetString);
    assert.equal(cursor.done, false);
    assert.throws(() => cursor.end(), malformed(/trailing bytes/));
    cursor.next();
    assert.equal(cursor.optional(TAG.null), undefined);
    assert.equal(cursor.peek(), undefined);
    cursor.end();
  });

  it('sort the members of a set, as X.690 §11.6 orders', () => {
    const set = derSetOf(derUnsigned(bytes('0100')), derUnsigned(bytes('05')), derNull());
    assert.equal(hex(set), '31090201050202010005 00'.replaceAll(' ', ''));
  });
});

describe('DER integers', () => {
  it('read back as they were written, leading zeros aside', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 1n << 200n }), (value) => {
        const digits = value.toString(16);
        const octets = Buffer.from(digits.length % 2 ? `0${digits}` : digits, 'hex');
        const encoded = derUnsigned(Buffer.concat([Uint8Array.of(0, 0), octets]));
        assert.equal(hex(unsignedInteger(element(encoded), 'test')), octets.toString('hex'));
      }),
    );
  });

  it('are spelled as openssl spells them', async () => {
    const file = join(await temporaryFolder(), 'integer');
    for (const value of ['0', '127', '128', '255', '256', '32768', '4294967296']) {
      const digits = BigInt(value).toString(16);
      const octets = Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
      execFileSync('openssl', ['asn1parse', '-genstr', `INTEGER:${value}`, '-noout', '-out', file]);
      assert.equal(hex(derUnsigned(octets)), hex(readFileSync(file)), value);
    }
    assert.equal(hex(derUnsigned(new Uint8Array())), '020100');
  });

  const refused: Readonly<Record<string, [string, RegExp]>> = {
    'no content': ['0200', /empty INTEGER/],
    'a negative number': ['0201ff', /negative INTEGER/],
    'a leading zero that is no sign': ['02020001', /shortest form/],
    'two zeros': ['02020000', /shortest form/],
  };
  for (const [name, [octets, fact]] of Object.entries(refused)) {
    it(`refuse ${name}`, () =>
      assert.throws(() => unsignedInteger(element(bytes(octets)), 'test'), malformed(fact)));
  }

  it('are small up to four bytes', () => {
    assert.equal(smallInteger(element(bytes('020100')), 'test'), 0);
    assert.equal(smallInteger(element(bytes('020500ffffffff')), 'test'), 0xffffffff);
    assert.throws(() => smallInteger(element(bytes('02050100000000')), 'test'), malformed(/too large/));
  });
});

describe('DER object identifiers', () => {
  const vectors: readonly [string, string][] = [
    ['1.2.840.113549', '06062a864886f70d'],
    ['2.999.3', '0603883703'],
    ['2.5.4.3', '0603550403'],
    ['0.9.2342.19200300.100.1.25', '060a0992268993f22c640119'],
    ['1.3.14.3.2.26', '06052b0e03021a'],
  ];
  for (const [text, octets] of vectors) {
    it(`spell ${text}`, () => {
      assert.equal(hex(derOid(text)), octets);
      assert.equal(oidText(element(bytes(octets))), text);
    });
  }

  it('read back as they were written', () => {
    const arc = fc.integer({ min: 0, max: 0xffffffff });
    const head = fc.oneof(
      fc.tuple(fc.constantFrom(0, 1), fc.integer({ min: 0, max: 39 })),
      fc.tuple(fc.constant(2), fc.integer({ min: 0, max: 0xffffffff - 80 })),
    );
    fc.assert(
      fc.property(head, fc.array(arc, { maxLength: 12 }), ([root, second], rest) => {
        const text = [root, second, ...rest].join('.');
        assert.equal(oidText(element(derOid(text))), text);
      }),
    );
  });

  const refused: Readonly<Record<string, string>> = {
    'no content': '0600',
    'an arc cut short': '06022a86',
    'an arc with a leading zero group': '06032a8001',
    'an arc of more than 32 bits': '06072a9080808000',
  };
  for (const [name, octets] of Object.entries(refused)) {
    it(`refuse ${name}`, () => assert.throws(() => oidText(element(bytes(octets))), Malformed));
  }
});

describe('DER times', () => {
  const utc = (text: string) => derTime(element(der(TAG.utcTime, Buffer.from(text, 'latin1'))));
  const general = (text: string) => derTime(element(der(TAG.generalizedTime, Buffer.from(text, 'latin1'))));

  it('are those of RFC 5280 §4.1.2.5', () => {
    assert.equal(utc('261101123456Z'), Date.UTC(2026, 10, 1, 12, 34, 56));
    assert.equal(utc('491231235959Z'), Date.UTC(2049, 11, 31, 23, 59, 59));
    assert.equal(utc('500101000000Z'), Date.UTC(1950, 0));
    assert.equal(utc('000229000000Z'), Date.UTC(2000, 1, 29));
    assert.equal(general('20500101000000Z'), Date.UTC(2050, 0));
    assert.equal(general('99991231235959Z'), Date.UTC(9999, 11, 31, 23, 59, 59));
    assert.equal(general('00000101000000Z'), Date.parse('0000-01-01T00:00:00Z'));
  });

  it('read back for every second', () => {
    const seconds = fc.integer({
      min: Date.parse('0000-01-01') / 1000,
      max: Date.parse('9999-12-31') / 1000,
    });
    fc.assert(
      fc.property(seconds, (second) => {
        const text = new Date(second * 1000).toISOString().replace(/[-:T]|\.\d+/g, '');
        assert.equal(general(text), second * 1000);
      }),
    );
  });

  const refused: readonly string[] = [
    '2611011234Z',
    '261101123456',
    '261101123456+0000',
    '261101123456.5Z',
    '260230000000Z',
    '261301000000Z',
    '260001000000Z',
    '261100000000Z',
    '261101240000Z',
    '261101236000Z',
    '261101235960Z',
    '2611 1123456Z',
    '20261101123456Z',
    '',
  ];
  for (const text of refused)
    it(`refuse ${JSON.stringify(text)}`, () => assert.throws(() => utc(text), Malformed));

  it('refuse a time under another tag', () => {
    assert.throws(() => derTime(element(der(TAG.ia5String, Buffer.from('261101123456Z')))), Malformed);
    assert.throws(() => general('261101123456Z'), Malformed);
  });
});

describe('DER bit strings', () => {
  it('are bytes, or refused', () => {
    assert.equal(hex(bitStringOctets(element(bytes('030300aabb')), 'test')), 'aabb');
    for (const octets of ['0300', '030207aa']) {
      assert.throws(() => bitStringOctets(element(bytes(octets)), 'test'), malformed(/unused bits/));
    }
  });
});
