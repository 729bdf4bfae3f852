import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeWakePassword, encodeMagicPacket } from '../../../src/formats/net/magic-packet.ts';

const MAC = '52:54:00:12:34:56';

describe('a magic packet', () => {
  it('is six bytes of FF and sixteen times the address: 102 bytes', () => {
    const packet = encodeMagicPacket(MAC);
    assert.equal(packet.toString('hex'), 'ff'.repeat(6) + '525400123456'.repeat(16));
    assert.equal(packet.length, 102);
  });

  it('ends in the password, where there is one', () => {
    const six = encodeMagicPacket(MAC, decodeWakePassword('00:11:22:33:44:FF'));
    assert.equal(six.subarray(102).toString('hex'), '0011223344ff');
    const four = encodeMagicPacket(MAC, decodeWakePassword('1.2.3.255'));
    assert.equal(four.subarray(102).toString('hex'), '010203ff');
    assert.equal(decodeWakePassword('00-11-22-33-44-ff').toString('hex'), '0011223344ff');
  });

  for (const bad of [
    '',
    'secret',
    '00:11:22:33:44',
    '00:11-22:33:44:55',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
  ])
    it(`has no password ${JSON.stringify(bad)}`, () => {
      assert.throws(() => decodeWakePassword(bad), Malformed);
    });
});
