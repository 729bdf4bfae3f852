import assert from 'node:assert/strict';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { bytesContent } from '../../src/files/measure.ts';
import type { Check } from '../../src/trust/check.ts';
import { examine } from '../../src/trust/verify.ts';

export type Verdict = 'verified' | RefusalCode;

/** What one check makes of content. Anything thrown that is no `Refusal` is thrown here too. */
export async function judge(check: Check, content: Uint8Array): Promise<Verdict> {
  const { findings, verified } = await examine(bytesContent(content), [check]);
  const [finding] = findings;
  assert.ok(finding);
  assert.equal(finding.verified, verified !== undefined);
  return finding.verified ? 'verified' : finding.refusal.code;
}

/** For `assert.throws` and `assert.rejects`: a refusal of this code, whose message matches. */
export const refused =
  (code: RefusalCode, fact = /./) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof Refusal, (error as Error).stack);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, fact);
    return true;
  };
