import assert from 'node:assert/strict';
import { it } from 'node:test';
import { decodeAgentSignature } from '../../../src/formats/net/agent-signature.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const text = (it: string): Buffer => Buffer.from(it, 'latin1');
const RSA = text('(7:sig-val(3:rsa(1:s3:\0())))');
const ECDSA = text('(7:sig-val(5:ecdsa(1:r2:\0r)(1:s1:s)))');

it('numbers come without their leading zeros', () => {
  assert.deepEqual(decodeAgentSignature(RSA), { kind: 'rsa', s: text('()') });
  assert.deepEqual(decodeAgentSignature(ECDSA), { kind: 'ecdsa', r: text('r'), s: text('s') });
});

it('it is taken whole and alone', () => {
  for (const octets of [RSA, ECDSA]) {
    demandCutsRefused(decodeAgentSignature, octets);
    demandNothingAfter(decodeAgentSignature, octets);
    demandFlipsHandled(decodeAgentSignature, octets);
  }
});

const BAD: readonly [string, RegExp][] = [
  ['(7:sig-val(3:rsa(1:s3:abc)(1:t1:t)))', /no "\)"/],
  ['(7:sig-val(5:ecdsa(1:s1:s)(1:r1:r)))', /no list called r/],
  ['(7:sig-val(5:eddsa(1:r1:r)(1:s1:s)))', /another kind of key/],
  ['(7:sig-val(3:rsa(1:s0:)))', /no length/],
  ['(7:sig-val(3:rsa(1:s03:abc)))', /no length/],
  ['(7:sig-val(3:rsa(1:s2:\0\0)))', /s is zero/],
  ['(7:sig-val(3:rsa(1:s#aa#)))', /no length/],
  ['(sig-val (rsa (s 3:abc)))', /no length/],
];
for (const [written, fact] of BAD) {
  it(`${JSON.stringify(written)} is none`, () => {
    assert.throws(() => decodeAgentSignature(text(written)), malformed(fact));
  });
}
