import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  formatSetting,
  parseSetting,
  parseUnsigned,
  type SettingType,
  settingTag,
  strtoul,
} from '../../../src/formats/script/ipxe-settings.ts';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));

const VECTORS: [SettingType, string, string, string][] = [
  // type, what a script writes, bytes, what it reads back
  ['string', 'a b', '612062', 'a b'],
  ['uristring', 'a%20b/', '6120622f', 'a%20b%2F'],
  ['ipv4', '10.0x10.010.255', '0a1008ff', '10.16.8.255'],
  ['uint8', '255', 'ff', '0xff'],
  ['uint16', '8080', '1f90', '0x1f90'],
  ['uint32', '0x10', '00000010', '0x10'],
  ['int8', '-1', 'ff', '-1'],
  ['int16', '8080', '1f90', '8080'],
  ['int16', '40000', '9c40', '-25536'],
  ['int32', '40000', '00009c40', '40000'],
  ['hex', '52:54:0a', '52540a', '52:54:0a'],
  ['hexhyp', '52-54-0A', '52540a', '52-54-0a'],
  ['hexraw', '52540a', '52540a', '52540a'],
  ['base64', 'UlQK', '52540a', 'UlQK'],
  [
    'uuid',
    '4c4c4544-0051-3010-8052-b4c04f4a4e31',
    '4c4c4544005130108052b4c04f4a4e31',
    '4c4c4544-0051-3010-8052-b4c04f4a4e31',
  ],
  [
    'uuid',
    '4c4c4544005130108052b4c04f4a4e31',
    '4c4c4544005130108052b4c04f4a4e31',
    '4c4c4544-0051-3010-8052-b4c04f4a4e31',
  ],
  [
    'guid',
    '4c4c4544-0051-3010-8052-b4c04f4a4e31',
    '44454c4c510010308052b4c04f4a4e31',
    '4c4c4544-0051-3010-8052-b4c04f4a4e31',
  ],
];

for (const [type, text, octets, back] of VECTORS) {
  test(`${type}: ${text} is ${octets} and reads ${back}`, () => {
    assert.deepEqual(parseSetting(type, text), hex(octets));
    assert.equal(formatSetting(type, hex(octets)), back);
  });
}

const REFUSED: [SettingType, string][] = [
  ['ipv4', '10.0.0'],
  ['ipv4', '10.0.0.256'],
  ['ipv4', '10.0.0.1 '],
  ['uint16', '80x'],
  ['hex', '5:54'],
  ['hex', '52-54'],
  ['hexraw', '525'],
  ['uuid', '4c4c4544'],
  ['base64', 'U'],
  ['busdevfn', '1'],
];

for (const [type, text] of REFUSED) {
  test(`${type}: ${text} is malformed`, () => {
    assert.throws(() => parseSetting(type, text), Malformed);
  });
}

test('bytes of another length than the type expects', () => {
  assert.equal(formatSetting('ipv4', hex('0a0000')), undefined);
  assert.equal(formatSetting('uuid', hex('00')), undefined);
  assert.equal(formatSetting('int32', hex('1f90')), '8080');
  assert.equal(formatSetting('uint8', hex('1f90')), '0x1f90');
  assert.equal(formatSetting('string', hex('610062')), 'a');
});

test('a number that is wider than 64 bits is none, unless only its sign is', () => {
  assert.equal(formatSetting('uint32', hex('ffffffffffffffff')), '0xffffffffffffffff');
  assert.equal(formatSetting('uint32', hex(`00${'ff'.repeat(8)}`)), '0xffffffffffffffff');
  assert.equal(formatSetting('uint32', hex(`01${'00'.repeat(8)}`)), undefined);
  assert.equal(formatSetting('int8', hex('ff'.repeat(200))), '-1');
  assert.equal(formatSetting('int8', hex(`fe${'ff'.repeat(8)}`)), undefined);
  assert.equal(formatSetting('int8', hex(`7f${'ff'.repeat(7)}`)), '9223372036854775807');
});

test('strtoul has 32 bits, knows no error, and says what is left', () => {
  for (const [text, value, rest] of [
    ['3', 3, ''],
    ['4294967295', 4_294_967_295, ''],
    ['4294967296', 0, ''],
    ['4294967297', 1, ''],
    ['340282366920938463463374607431768211457', 1, ''],
    ['-1', 4_294_967_295, ''],
    ['-4294967296', 0, ''],
    ['+7', 7, ''],
    [' \t7', 7, ''],
    ['0x10', 16, ''],
    ['0XfFfffffff', 4_294_967_295, ''],
    ['010', 8, ''],
    ['', 0, ''],
    ['0x', 0, ''],
    ['+', 0, ''],
    ['-', 0, ''],
    ['0', 0, ''],
    ['08', 0, '8'],
    ['0xg', 0, 'g'],
    ['12a', 12, 'a'],
    ['a', 0, 'a'],
    ['7 ', 7, ' '],
    ['7\n', 7, '\n'],
    ['--1', 0, '-1'],
    ['1e3', 1, 'e3'],
  ] as const) {
    assert.deepEqual(strtoul(text), { value, rest }, JSON.stringify(text));
  }
});

test('numbers and option numbers are read as C reads them', () => {
  assert.equal(parseUnsigned('010'), 8n);
  assert.equal(parseUnsigned('0X1f'), 31n);
  assert.equal(parseUnsigned('-1'), -1n);
  for (const text of ['', '08', '1.', '0x', 'a']) assert.equal(parseUnsigned(text), undefined, text);
  assert.equal(settingTag('0x43'), '67');
  assert.equal(settingTag('175.3'), '175.3');
  assert.equal(settingTag('filename'), undefined);
});
