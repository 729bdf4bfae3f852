import assert from 'node:assert/strict';
import { isIP, SocketAddress } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeIpAddress, decodeIpPrefix, isWithin } from '../../../src/formats/net/ip-address.ts';

for (const [text, family, bits] of [
  ['0.0.0.0', 4, 0n],
  ['10.0.0.1', 4, 0x0a000001n],
  ['255.255.255.255', 4, 0xffffffffn],
  ['::', 6, 0n],
  ['::1', 6, 1n],
  ['fd00::', 6, 0xfd00n << 112n],
  ['1:2:3:4:5:6:7:8', 6, 0x00010002000300040005000600070008n],
  ['1:2:3:4:5:6:7::', 6, 0x00010002000300040005000600070000n],
  ['fe80::1%eth0', 6, (0xfe80n << 112n) | 1n],
  ['::ffff:10.0.0.1', 4, 0x0a000001n],
  ['::ffff:a00:1', 4, 0x0a000001n],
  ['64:ff9b::10.0.0.1', 6, (0x0064ff9bn << 96n) | 0x0a000001n],
] as const) {
  test(`an address: ${text}`, () => assert.deepEqual(decodeIpAddress(text), { family, bits }));
}

const NONE = [
  ...[
    '',
    ' 10.0.0.1',
    '10.0.0',
    '10.0.0.1.2',
    '256.0.0.1',
    '010.0.0.1',
    '10.0.0.1%eth0',
    '0x0a000001',
    '1',
    'host',
  ],
  ...[
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '::1.2.3',
  ],
  ...['1.2.3.4::', '::1:', ':1::', '10.0.0.1:80', '[::1]'],
];
for (const text of NONE) {
  test(`no address: ${JSON.stringify(text)}`, () => assert.throws(() => decodeIpAddress(text), Malformed));
}

test('what the system takes for an address is one, and another spelling of it is the same', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      assert.notEqual(isIP(text), 0);
      const family = isIP(text) === 4 ? 'ipv4' : 'ipv6';
      const { address } = new SocketAddress({ address: text, family });
      assert.deepEqual(decodeIpAddress(text), decodeIpAddress(address));
    }),
  );
});

test('whatever is no address to the system is none here', () => {
  const alphabet = fc.constantFrom(...'0123456789abcdef::..');
  fc.assert(
    fc.property(fc.string({ unit: alphabet, maxLength: 20 }), (text) => {
      if (isIP(text) === 0) assert.throws(() => decodeIpAddress(text), Malformed);
      else decodeIpAddress(text);
    }),
    { numRuns: 5000 },
  );
});

for (const [prefix, inside, outside] of [
  [
    '10.1.0.0/16',
    ['10.1.0.0', '10.1.255.255', '::ffff:10.1.2.3'],
    ['10.2.0.0', '9.255.255.255', '::10.1.0.0'],
  ],
  ['10.0.0.1', ['10.0.0.1'], ['10.0.0.2']],
  ['0.0.0.0/0', ['255.0.0.1'], ['::1']],
  ['fd00:1::/32', ['fd00:1:ffff::1'], ['fd00:2::', '253.0.0.1']],
  ['::/0', ['::1'], ['10.0.0.1']],
  ['::ffff:10.1.0.0/112', ['10.1.2.3'], ['10.2.0.0']],
] as const) {
  test(`a prefix: ${prefix}`, () => {
    const decoded = decodeIpPrefix(prefix);
    for (const text of inside) assert.ok(isWithin(decodeIpAddress(text), decoded), text);
    for (const text of outside) assert.ok(!isWithin(decodeIpAddress(text), decoded), text);
  });
}

for (const text of [
  '10.1.2.3/16',
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/08',
  '10.0.0.0/-1',
  '10.0.0.0/8/8',
  'fe80::%eth0/64',
  '::/129',
  '::ffff:10.0.0.0/64',
  'host/8',
]) {
  test(`no prefix: ${text}`, () => assert.throws(() => decodeIpPrefix(text), Malformed));
}
