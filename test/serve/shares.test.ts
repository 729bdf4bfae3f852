import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Shares } from '../../src/serve/shares.ts';

test('an IPv4 address has a share of its own, however it is written', () => {
  const shares = new Shares();
  assert.deepEqual(shares.of('10.0.0.1'), { name: '10.0.0.1', weight: 1 });
  assert.deepEqual(shares.of('::ffff:10.0.0.1'), shares.of('10.0.0.1'));
  assert.notEqual(shares.of('10.0.0.2').name, shares.of('10.0.0.1').name);
});

test('all of an IPv6 /64 have one share', () => {
  const shares = new Shares();
  assert.equal(shares.of('fd00:0:0:1::1').name, shares.of('fd00:0:0:1:ffff::2').name);
  assert.notEqual(shares.of('fd00:0:0:2::1').name, shares.of('fd00:0:0:1::1').name);
});

test('a configured prefix has one share of its weight; the longest that fits counts', () => {
  const shares = new Shares([
    { prefix: '10.0.0.0/8', weight: 2 },
    { prefix: '10.1.0.0/16', weight: 40 },
    { prefix: 'fd00::/16', weight: 7 },
  ]);
  assert.deepEqual(shares.of('10.1.2.3'), { name: '10.1.0.0/16', weight: 40 });
  assert.deepEqual(shares.of('10.2.0.1'), { name: '10.0.0.0/8', weight: 2 });
  assert.deepEqual(shares.of('fd00:5::1'), shares.of('fd00:6::1'));
  assert.equal(shares.of('192.0.2.1').weight, 1);
});

test('what is no address shares with what is none either, and a prefix that is none is an error', () => {
  const shares = new Shares();
  assert.deepEqual(shares.of(''), shares.of('garbage'));
  assert.throws(() => new Shares([{ prefix: '10.1.2.3/16', weight: 1 }]), { name: 'Malformed' });
});
