import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { Malformed } from '../../src/errors/malformed.ts';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { bytesContent, type Content } from '../../src/files/measure.ts';
import type { Question } from '../../src/files/measurer.ts';
import { type Check, type CheckName, decodeOr, lost, prepare } from '../../src/trust/check.ts';
import { examine, Verified, verify } from '../../src/trust/verify.ts';
import { refused } from './judge.ts';

const CONTENT = Buffer.from('content');
const ASK: Question = { kind: 'digest', hash: 'sha256' };

/** A check that asks `count` questions and holds; what it was answered goes to `heard`. */
function holding(name: CheckName, signed: boolean, count = 1, heard: unknown[] = []): Check {
  return {
    name,
    questions: Array(count).fill(ASK),
    conclude(answers) {
      heard.push(...answers);
      return { check: name, signer: 'somebody', signed };
    },
  };
}

function refusing(code: RefusalCode): Check {
  return {
    name: 'cms',
    questions: [ASK],
    conclude() {
      throw new Refusal(code, `It is ${code}.`);
    },
  };
}

describe('verify', () => {
  it('says yes to content that every check holds for, and names it', async () => {
    const verified = await verify('x', bytesContent(CONTENT), [
      holding('cms', true),
      holding('checksum', false),
    ]);
    assert.ok(verified instanceof Verified);
    assert.equal(verified.size, CONTENT.length);
    assert.equal(verified.sha256, createHash('sha256').update(CONTENT).digest('hex'));
    assert.equal(verified.sha512, createHash('sha512').update(CONTENT).digest('hex'));
    assert.deepEqual(
      verified.evidence.map(({ check }) => check),
      ['cms', 'checksum'],
    );
  });

  it('says no where nothing was asked, or no key stands behind the answer', async () => {
    for (const checks of [
      [],
      [holding('checksum', false)],
      [holding('checksum', false), holding('checksum', false)],
    ]) {
      await assert.rejects(
        verify('x.img', bytesContent(CONTENT), checks),
        refused('no-verdict', /vouches for x\.img/),
      );
      assert.equal((await examine(bytesContent(CONTENT), checks)).verified, undefined);
    }
  });

  it('says no with the first reason there is', async () => {
    const checks = [holding('cms', true), refusing('expired'), refusing('revoked')];
    await assert.rejects(verify('x', bytesContent(CONTENT), checks), refused('expired'));
  });

  it('hears all checks out, whichever of them refuses', async () => {
    const heard: unknown[] = [];
    const { findings, verified } = await examine(bytesContent(CONTENT), [
      refusing('expired'),
      lost('openpgp', new Refusal('absent', 'No seal.')),
      holding('manifest', true, 1, heard),
    ]);
    assert.equal(verified, undefined);
    assert.deepEqual(
      findings.map((finding) => (finding.verified ? finding.check : finding.refusal.code)),
      ['expired', 'absent', 'manifest'],
    );
    assert.equal(heard.length, 1);
  });

  it('gives each check its own answers, from one pass over the content', async () => {
    let passes = 0;
    const content: Content = {
      measure(questions) {
        passes += 1;
        const answers = questions.map((_, index) => Uint8Array.of(index));
        return Promise.resolve({ size: 1, answers });
      },
    };
    const heard: Uint8Array[][] = [[], [], []];
    await examine(content, [
      holding('cms', true, 2, heard[0]),
      holding('openpgp', true, 0, heard[1]),
      holding('manifest', true, 1, heard[2]),
    ]);
    assert.equal(passes, 1);
    // 0 and 1 are the digests that identify the content.
    assert.deepEqual(
      heard.map((answers) => answers.map(([number]) => number)),
      [[2, 3], [], [4]],
    );
  });

  it('does not swallow what is no refusal', async () => {
    const broken: Check = {
      name: 'cms',
      questions: [],
      conclude() {
        throw new TypeError('a defect');
      },
    };
    await assert.rejects(verify('x', bytesContent(CONTENT), [broken]), TypeError);
    const gone: Content = { measure: () => Promise.reject(new Refusal('unreachable', 'Gone.')) };
    await assert.rejects(verify('x', gone, [holding('cms', true)]), refused('unreachable'));
  });
});

describe('Verified', () => {
  it('is made by verify alone', () => {
    const make = Verified as unknown as new (...args: unknown[]) => unknown;
    for (const token of [undefined, Symbol('verified'), Symbol.for('verified'), 'verified', {}]) {
      assert.throws(() => new make(token, 1, 'a', 'b', []), TypeError);
    }
    assert.equal(Object.create(Verified.prototype).sha256, undefined);
  });
});

describe('a check in the making', () => {
  it('is lost for malformed bytes, and says which format they should have had', async () => {
    const check = prepare('openpgp', () =>
      decodeOr('x.sig', () => {
        throw new Malformed('OpenPGP', 'partial length', 7);
      }),
    );
    assert.equal(check.name, 'openpgp');
    await assert.rejects(
      verify('x', bytesContent(CONTENT), [check]),
      refused('malformed', /^x\.sig is malformed: OpenPGP: partial length \(at byte 7\)\.$/),
    );
  });

  it('does not turn a defect into a refusal', () => {
    const defect = () => {
      throw new RangeError('a defect');
    };
    assert.throws(() => prepare('cms', () => decodeOr('x', defect)), RangeError);
  });
});
