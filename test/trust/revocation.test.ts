import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodePackets } from '../../src/formats/openpgp/openpgp-packet.ts';
import { decodeSignature } from '../../src/formats/openpgp/openpgp-signature.ts';
import { isInForce, revocationOf } from '../../src/trust/revocation.ts';
import { NOW } from '../fixtures/keys.ts';
import { newTestKey, type SignatureWish, signTest, subpacket } from '../fixtures/openpgp.ts';

const key = newTestKey();

function read(wish: SignatureWish) {
  const [packet] = decodePackets(signTest(key, Buffer.alloc(0), { type: 0x20, ...wish }), 1);
  return revocationOf(decodeSignature(packet?.body ?? Buffer.alloc(0)));
}
const reason = (...body: readonly number[]) => subpacket(29, Uint8Array.from(body));

describe('a revocation', () => {
  const cases: readonly [string, SignatureWish, 'hard' | 'soft', (number | undefined)?][] = [
    ['that gives no reason', {}, 'hard'],
    ['for "no reason"', { hashed: [reason(0)] }, 'hard', 0],
    ['since the key was superseded', { hashed: [reason(1, 0x78)] }, 'soft', 1],
    ['since the key was compromised', { hashed: [reason(2)] }, 'hard', 2],
    ['since the key was retired', { hashed: [reason(3)] }, 'soft', 3],
    ['since a user id is given up', { hashed: [reason(32)] }, 'soft', 32],
    ['for a reason that nobody knows', { hashed: [reason(100)] }, 'hard', 100],
    ['with an empty reason', { hashed: [reason()] }, 'hard'],
    ['with a soft reason that no signature covers', { unhashed: [reason(1)] }, 'hard'],
    ['with a soft reason and a hard one', { hashed: [reason(1), reason(2)] }, 'hard', 1],
    ['with a soft reason and no date', { hashed: [reason(1)], timeless: true }, 'hard', 1],
  ];
  for (const [what, wish, kind, code] of cases) {
    it(`${what} is ${kind}`, () => {
      const found = read(wish);
      assert.deepEqual([found.kind, found.reason], [kind, code]);
      assert.equal(isInForce(found, 0), kind === 'hard');
      assert.equal(isInForce(found, NOW - 1), kind === 'hard');
      assert.equal(isInForce(found, NOW), true);
    });
  }
});
