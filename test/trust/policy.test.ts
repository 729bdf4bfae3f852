import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { HashName } from '../../src/formats/asn1/oids.ts';
import { day, defaultPolicy, demandStrong } from '../../src/trust/policy.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from './judge.ts';

const RSA = { type: 'rsa', bits: 4096 };

describe('the default policy', () => {
  const cases: readonly [HashName, { type: string; bits: number }, number, RegExp?][] = [
    ['sha256', RSA, NOW],
    ['sha384', RSA, NOW],
    ['sha512', RSA, NOW],
    ['sha224', RSA, NOW],
    ['sha256', { type: 'rsa', bits: 2048 }, NOW],
    ['sha256', { type: 'rsa', bits: 2047 }, NOW, /RSA key of 2047 bits; 2048 are the least/],
    ['sha256', { type: 'rsa', bits: 1024 }, NOW, /2048 are the least/],
    ['sha256', { type: 'rsa', bits: -8 }, NOW, /2048 are the least/],
    ['sha256', { type: 'ec', bits: 256 }, NOW],
    ['sha384', { type: 'ec', bits: 384 }, NOW],
    ['sha256', { type: 'ec', bits: 224 }, NOW, /curve that is not accepted/],
    ['sha256', { type: 'ec', bits: 0 }, NOW, /curve that is not accepted/],
    ['sha512', { type: 'ed25519', bits: 256 }, NOW],
    ['sha1', RSA, NOW, /uses sha1, not accepted since 2013-02-01/],
    ['md5', RSA, NOW, /uses md5, not accepted since 2004-02-01/],
    ['sha1', { type: 'ec', bits: 256 }, NOW, /uses sha1/],
  ];
  for (const [hash, key, asOf, fact] of cases) {
    it(`${fact ? 'refuses' : 'takes'} ${hash} by ${key.type} of ${key.bits} bits`, () => {
      const act = () => demandStrong(defaultPolicy(asOf), 'x.sig', hash, key);
      if (fact) assert.throws(act, refused('weak-algorithm', fact));
      else act();
    });
  }

  it('knows until when an algorithm was good enough, to the millisecond', () => {
    const [sha1, md5, short] = [Date.UTC(2013, 1), Date.UTC(2004, 1), Date.UTC(2014, 1)];
    demandStrong(defaultPolicy(sha1 - 1), 'x', 'sha1', RSA);
    assert.throws(() => demandStrong(defaultPolicy(sha1), 'x', 'sha1', RSA), refused('weak-algorithm'));
    demandStrong(defaultPolicy(md5 - 1), 'x', 'md5', RSA);
    assert.throws(() => demandStrong(defaultPolicy(md5), 'x', 'md5', RSA), refused('weak-algorithm'));
    const key = { type: 'rsa', bits: 1024 };
    demandStrong(defaultPolicy(short - 1), 'x', 'sha256', key);
    assert.throws(() => demandStrong(defaultPolicy(short), 'x', 'sha256', key), refused('weak-algorithm'));
    const shorter = { type: 'rsa', bits: 1023 };
    assert.throws(() => demandStrong(defaultPolicy(0), 'x', 'sha256', shorter), refused('weak-algorithm'));
  });

  it('says days as days', () => {
    assert.equal(day(NOW), '2026-11-01');
    assert.equal(day(NOW - 1), '2026-10-31');
  });
});
