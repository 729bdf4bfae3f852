import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { type Check, lost } from '../../src/trust/check.ts';
import { thresholdCheck } from '../../src/trust/threshold.ts';
import { judge } from './judge.ts';

const CONTENT = Buffer.from('content');

/** A seal that holds if the digest it is handed is the content's. */
function by(signer: string, holder = signer): Check {
  return {
    name: 'openpgp',
    questions: [{ kind: 'digest', hash: 'sha256' }],
    conclude([answer]) {
      assert.ok(answer instanceof Uint8Array && answer.length === 32, 'each check hears its own answers');
      return { check: 'openpgp', signer, holder, signed: true };
    },
  };
}
const bad = (): Check => lost('openpgp', new Refusal('bad-signature', 'No.'));
const judged = (least: number, ...checks: Check[]) => judge(thresholdCheck('file', least, checks), CONTENT);

it('two of three distinct signers are two', async () => {
  assert.equal(await judged(2, by('a'), bad(), by('c')), 'verified');
});

it('one signer in two files is one', async () => {
  assert.equal(await judged(2, by('a'), by('a')), 'untrusted-signer');
});

it('two subkeys of one certificate are one signer', async () => {
  assert.equal(await judged(2, by('subkey 1', 'primary'), by('subkey 2', 'primary')), 'untrusted-signer');
});

it('too few say why the others did not count', async () => {
  assert.equal(await judged(2, by('a'), bad()), 'bad-signature');
  assert.equal(await judged(1), 'untrusted-signer');
});
