import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  claimedMac,
  claimedUuid,
  machineClaims,
  swappedUuid,
} from '../../../src/formats/net/machine-claims.ts';

const read = (query: string) => machineClaims(new URLSearchParams(query));

describe('what a loader says of its machine', () => {
  it('is read as iPXE writes it', () => {
    assert.deepEqual(
      read(
        'mac=52-54-00-12-34-56&uuid=11223344-5566-7788-99aa-bbccddeeff00&arch=x86_64&firmware=efi&serial=S%2F1&asset=&manufacturer=QEMU&product=Standard%20PC',
      ),
      {
        mac: '52:54:00:12:34:56',
        uuid: '11223344-5566-7788-99aa-bbccddeeff00',
        arch: 'x86_64',
        firmware: 'efi',
        serial: 'S/1',
        manufacturer: 'QEMU',
        product: 'Standard PC',
      },
    );
  });

  it('is nothing where it is not of its form', () => {
    for (const query of [
      'mac=52-54-00-12-34',
      'mac=52-54:00-12-34-56',
      'mac=ff-ff-ff-ff-ff-ff',
      'mac=00-00-00-00-00-00',
      'mac=01-54-00-12-34-56',
      'uuid=00000000-0000-0000-0000-000000000000',
      'uuid=FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF',
      'uuid=112233445566778899aabbccddeeff00',
      'arch=toString',
      'arch=../x',
      'firmware=constructor',
      `serial=${'x'.repeat(65)}`,
      'serial=a%0Ab',
      'serial=%1b[2J',
      'serial=%C3%A9',
      'serial=%20%20',
      'channel=stable',
      'loader=grub',
    ])
      assert.deepEqual(read(query), {}, query);
  });

  it('counts once, or not at all', () => {
    assert.deepEqual(read('mac=52-54-00-12-34-56&mac=52-54-00-12-34-57'), {});
  });

  it('says nothing of a machine whose BIOS starts an iPXE for 32 bits', () => {
    assert.deepEqual(read('arch=i386&firmware=pcbios'), { firmware: 'bios' });
  });
});

describe('identities', () => {
  it('are one text each', () => {
    assert.equal(claimedMac('52-54-00-AB-CD-EF'), '52:54:00:ab:cd:ef');
    assert.equal(claimedUuid('AABBCCDD-0011-2233-4455-66778899AABB'), 'aabbccdd-0011-2233-4455-66778899aabb');
  });

  it('turn round as old firmware is printed', () => {
    const uuid = '11223344-5566-7788-99aa-bbccddeeff00';
    assert.equal(swappedUuid(uuid), '44332211-6655-8877-99aa-bbccddeeff00');
    assert.equal(swappedUuid(swappedUuid(uuid)), uuid);
  });
});
