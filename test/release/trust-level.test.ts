import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TRUST_LEVELS, trustLevelOf } from '../../src/release/trust-level.ts';

describe('the trust level of a boot', () => {
  it('is one of five, each with words of its own', () => {
    assert.deepEqual(Object.values(TRUST_LEVELS), [
      'ROM or flash with imgverify',
      'network loader with imgverify',
      'GRUB enforcing',
      'Secure Boot',
      'stock (unverified)',
    ]);
  });

  it('is the lower one of what is not said, and what was seen goes before what is said', () => {
    const ipxe = (more: { local?: boolean; fetched?: boolean }) =>
      trustLevelOf({ loader: 'ipxe', verifies: true, ...more });
    assert.equal(ipxe({ local: true }), 'local-imgverify');
    assert.equal(ipxe({ local: true, fetched: false }), 'local-imgverify');
    assert.equal(ipxe({ local: true, fetched: true }), 'network-imgverify');
    assert.equal(ipxe({ local: false }), 'network-imgverify');
    assert.equal(ipxe({}), 'network-imgverify');
    assert.equal(trustLevelOf({ loader: 'ipxe', verifies: false, local: true }), 'stock');
    assert.equal(trustLevelOf({ loader: 'grub' }), 'grub');
    assert.equal(trustLevelOf({ loader: 'firmware' }), 'secure-boot');
  });
});
