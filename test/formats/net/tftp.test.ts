import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  decodeTftp,
  encodeTftp,
  type TftpPacket,
  tftpNumber,
  tftpOpcode,
  writeTftpDataHeader,
} from '../../../src/formats/net/tftp.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const plain = (packet: TftpPacket): unknown =>
  'options' in packet
    ? { ...packet, options: [...packet.options] }
    : packet.kind === 'data'
      ? { ...packet, data: Buffer.from(packet.data).toString('hex') }
      : { ...packet };

const VECTORS: readonly [string, Buffer, TftpPacket][] = [
  [
    'a request as PXE ROMs send it',
    bytes('\0\x01/undionly.kpxe\0octet\0tsize\x000\0BLKSIZE\x001456\0'),
    {
      kind: 'rrq',
      filename: '/undionly.kpxe',
      mode: 'octet',
      options: new Map([
        ['tsize', '0'],
        ['blksize', '1456'],
      ]),
    },
  ],
  [
    'a write request',
    bytes('\0\x02a\0NetASCII\0'),
    { kind: 'wrq', filename: 'a', mode: 'netascii', options: new Map() },
  ],
  ['data', bytes('\0\x03\xff\xffabc'), { kind: 'data', block: 65535, data: bytes('abc') }],
  ['empty data', bytes('\0\x03\0\x01'), { kind: 'data', block: 1, data: bytes('') }],
  ['an ACK', bytes('\0\x04\x01\x02'), { kind: 'ack', block: 258 }],
  ['an ERROR', bytes('\0\x05\0\x01File not found\0'), { kind: 'error', code: 1, message: 'File not found' }],
  ['an ERROR without words', bytes('\0\x05\0\0\0'), { kind: 'error', code: 0, message: '' }],
  ['an OACK with an empty value', bytes('\0\x06x\0\0'), { kind: 'oack', options: new Map([['x', '']]) }],
];

for (const [name, wire, packet] of VECTORS) {
  test(`decodes ${name}`, () => assert.deepEqual(plain(decodeTftp(wire)), plain(packet)));
}

test('writes what it reads', () => {
  for (const [name, wire, packet] of VECTORS) {
    if (packet.kind === 'rrq' || packet.kind === 'wrq') continue;
    assert.equal(encodeTftp(packet).toString('hex'), wire.toString('hex'), name);
  }
});

const option = fc.tuple(fc.stringMatching(/^[!-@[-~]{1,12}$/), fc.stringMatching(/^[ -~]{0,12}$/));
const options = fc
  .uniqueArray(option, { selector: ([name]) => name, maxLength: 6 })
  .map((all) => new Map(all));
const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
  .filter((text) => Buffer.byteLength(text) < 200 && !/[\x00-\x1f\x7f-\x9f]/.test(text));
const u16 = fc.integer({ min: 0, max: 65535 });
const packets: fc.Arbitrary<TftpPacket> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('rrq' as const, 'wrq' as const),
    filename: name,
    mode: fc.constantFrom('octet' as const, 'netascii' as const, 'mail' as const),
    options,
  }),
  fc.record({ kind: fc.constant('data' as const), block: u16, data: fc.uint8Array({ maxLength: 2000 }) }),
  fc.record({ kind: fc.constant('ack' as const), block: u16 }),
  fc.record({ kind: fc.constant('error' as const), code: u16, message: name }),
  fc.record({ kind: fc.constant('oack' as const), options: options.filter((map) => map.size > 0) }),
);

test('encode and decode are inverses', () => {
  fc.assert(
    fc.property(packets, (packet) => {
      assert.deepEqual(plain(decodeTftp(encodeTftp(packet))), plain(packet));
    }),
  );
});

test('any bytes are a packet that encodes again, or Malformed, and nothing else', () => {
  const seeded = fc
    .tuple(fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 600 }))
    .map(([opcode, rest]) => Buffer.from([0, opcode, ...rest]));
  fc.assert(
    fc.property(fc.oneof(seeded, fc.uint8Array({ maxLength: 8 })), (input) => {
      let packet: TftpPacket;
      try {
        packet = decodeTftp(input);
      } catch (error) {
        assert.ok(error instanceof Malformed, String(error));
        return;
      }
      assert.deepEqual(plain(decodeTftp(encodeTftp(packet))), plain(packet));
    }),
    { numRuns: 500 },
  );
});

test('truncated at each length: Malformed, or the same packet with less', () => {
  for (const [about, wire] of VECTORS) {
    for (let length = 0; length < wire.length; length += 1) {
      const cut = wire.subarray(0, length);
      const kind = tftpOpcode(cut);
      // Data has no length of its own, and a request may end after its mode or after any option.
      const legal =
        (kind === 3 && length >= 4) ||
        ((kind === 1 || kind === 2) && [23, 31].includes(length) && wire.length > 31);
      if (legal) decodeTftp(cut);
      else assert.throws(() => decodeTftp(cut), Malformed, `${about}, ${length} bytes`);
    }
  }
});

for (const [why, wire] of [
  ['nothing', ''],
  ['one byte', '\0'],
  ['opcode 0', '\0\0\0\0'],
  ['opcode 7', '\0\x07\0\0'],
  ['an opcode whose high byte is set', '\x01\x01a\0octet\0'],
  ['an empty name', '\0\x01\0octet\0'],
  ['a control character in the name', '\0\x01a\nb\0octet\0'],
  ['an escape in the name', '\0\x01a\x1b[2J\0octet\0'],
  ['a C1 control in the name', '\0\x01a\xc2\x9b\0octet\0'],
  ['a name that is not UTF-8', '\0\x01a\xff\0octet\0'],
  ['an overlong slash', '\0\x01a\xc0\xaf\0octet\0'],
  ['no mode', '\0\x01a\0'],
  ['an unknown mode', '\0\x01a\0binary\0'],
  ['an empty mode', '\0\x01a\0\0'],
  ['an option without a value', '\0\x01a\0octet\0tsize\0'],
  ['an option value without its NUL', '\0\x01a\0octet\0tsize\x000'],
  ['an empty option name', '\0\x01a\0octet\0\x000\0'],
  ['one NUL too many', '\0\x01a\0octet\0\0'],
  ['an option twice', '\0\x01a\0octet\0tsize\x000\0tsize\x000\0'],
  ['an option twice, in another case', '\0\x01a\0octet\0tsize\x000\0TSIZE\x000\0'],
  ['an option name beyond ASCII', '\0\x01a\0octet\0tsiz\xe9\x000\0'],
  ['an option value with a control character', '\0\x01a\0octet\0tsize\x000\t\0'],
  ['a request of 513 bytes', `\0\x01${'a'.repeat(504)}\0octet\0`],
  ['DATA without a whole block number', '\0\x03\0'],
  ['a block of 65465 bytes', `\0\x03\0\x01${'a'.repeat(65465)}`],
  ['a short ACK', '\0\x04\0'],
  ['a long ACK', '\0\x04\0\x01\0'],
  ['an ERROR without its text', '\0\x05\0\x01'],
  ['an ERROR without its NUL', '\0\x05\0\x01no'],
  ['an ERROR with bytes behind its NUL', '\0\x05\0\x01no\0x'],
  ['an ERROR that writes to a terminal', '\0\x05\0\x01\x1b[2J\0'],
  ['an ERROR of 517 bytes', `\0\x05\0\x01${'a'.repeat(512)}\0`],
  ['an OACK without an option', '\0\x06'],
  ['an OACK of 513 bytes', `\0\x06a\0${'b'.repeat(508)}\0`],
] as const) {
  test(`Malformed: ${why}`, () => assert.throws(() => decodeTftp(bytes(wire)), Malformed));
}

test('a request of 512 bytes, and a block of 65464, are the longest', () => {
  const packet = decodeTftp(bytes(`\0\x01${'a'.repeat(503)}\0octet\0`));
  assert.equal(packet.kind === 'rrq' && packet.filename.length, 503);
  const data = decodeTftp(bytes(`\0\x03\0\x01${'a'.repeat(65464)}`));
  assert.equal(data.kind === 'data' && data.data.length, 65464);
});

test('encode refuses what decode would', () => {
  const none = new Map<string, string>();
  for (const packet of [
    { kind: 'rrq', filename: '', mode: 'octet', options: none },
    { kind: 'rrq', filename: 'a\0octet', mode: 'octet', options: none },
    { kind: 'rrq', filename: '\ud800', mode: 'octet', options: none },
    { kind: 'rrq', filename: 'a'.repeat(504), mode: 'octet', options: none },
    { kind: 'rrq', filename: 'a', mode: 'octet', options: new Map([['Tsize', '0']]) },
    { kind: 'rrq', filename: 'a', mode: 'octet', options: new Map([['tsize', '0\0x']]) },
    { kind: 'oack', options: none },
    { kind: 'error', code: 0, message: 'a\n' },
    { kind: 'error', code: 0, message: 'a'.repeat(512) },
    { kind: 'error', code: 65536, message: '' },
    { kind: 'ack', block: -1 },
    { kind: 'data', block: 0, data: Buffer.alloc(65465) },
  ] satisfies TftpPacket[]) {
    assert.throws(() => encodeTftp(packet), RangeError, JSON.stringify(packet).slice(0, 80));
  }
});

test('numbers are strict decimals within their bounds', () => {
  assert.equal(tftpNumber('8', 8, 65464), 8);
  assert.equal(tftpNumber('0', 0, 1), 0);
  for (const text of ['', ' 8', '8 ', '+8', '-8', '08', '8.0', '8e1', '0x8', '１２', 'NaN', '9'.repeat(16)]) {
    assert.throws(() => tftpNumber(text, 0, Number.MAX_SAFE_INTEGER), Malformed, JSON.stringify(text));
  }
  assert.throws(() => tftpNumber('7', 8, 65464), Malformed);
  assert.throws(() => tftpNumber('65465', 8, 65464), Malformed);
});

test('the header of a DATA packet', () => {
  const into = Buffer.alloc(4);
  writeTftpDataHeader(into, 65535);
  assert.equal(into.toString('hex'), '0003ffff');
});
