import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';

it('a refusal is an error with a code, a sentence and facts, and JSON says the same', () => {
  const cause = new Error('below');
  const refusal = new Refusal('expired', 'It ended.', { notAfter: '2026-11-01' }, { cause });
  assert.ok(refusal instanceof Error);
  assert.equal(refusal.name, 'Refusal');
  assert.equal(refusal.cause, cause);
  assert.deepEqual(JSON.parse(JSON.stringify(refusal)), {
    code: 'expired',
    message: 'It ended.',
    facts: { notAfter: '2026-11-01' },
  });
});

it('a refusal without facts has none', () => {
  assert.deepEqual(new Refusal('absent', 'Gone.').facts, {});
});
