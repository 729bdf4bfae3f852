import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import type { PolicyFloor } from '../../src/formats/records/policy-floor.ts';
import { demandArchitecture, demandFresh, NO_FLOOR } from '../../src/trust/freshness.ts';
import { goodText } from '../fixtures/manifest-record.ts';

const DAY = 86_400_000;
const manifest = decodeManifest(Buffer.from(goodText(Buffer.alloc(8192, 'root image'))));
const { serial, issued, bestBefore } = manifest;
const floor = (changes: Partial<PolicyFloor>): PolicyFloor => ({ ...NO_FLOOR, ...changes });
const refusal = (code: RefusalCode, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Refusal, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, text);
  return true;
};

describe('a manifest is fresh', () => {
  it('on the day it was issued, with no warning', () => {
    assert.equal(demandFresh(manifest, NO_FLOOR, issued), undefined);
  });

  it('to a machine whose clock is lost, which is no reason for a warning', () => {
    assert.equal(demandFresh(manifest, NO_FLOOR, 0), undefined);
    const old = { ...manifest, issued: DAY, bestBefore: 10 * DAY };
    assert.equal(demandFresh(old, NO_FLOOR, 9 * DAY), undefined);
  });

  it('until best-before, whose last 14 days are counted', () => {
    assert.equal(demandFresh(manifest, NO_FLOOR, bestBefore - 14 * DAY - 1), undefined);
    assert.equal(demandFresh(manifest, NO_FLOOR, bestBefore - 14 * DAY), 14);
    assert.equal(demandFresh(manifest, NO_FLOOR, bestBefore - 1), 1);
    assert.equal(demandFresh(manifest, NO_FLOOR, bestBefore), 0);
    assert.throws(
      () => demandFresh(manifest, NO_FLOOR, bestBefore + 1),
      refusal('stale', /best before 2027-01-30/),
    );
  });

  it('for as long as the policy gives grace, and no millisecond longer', () => {
    const grace = floor({ graceDays: 3 });
    assert.equal(demandFresh(manifest, grace, bestBefore + 3 * DAY), -3);
    assert.throws(
      () => demandFresh(manifest, grace, bestBefore + 3 * DAY + 1),
      refusal('stale', /2027-01-30/),
    );
  });

  it('once stale, at every later time', () => {
    const later = fc.integer({ min: 1, max: 100 * 365 * DAY });
    fc.assert(
      fc.property(later, fc.integer({ min: 0, max: 366 }), (past, graceDays) => {
        const now = bestBefore + graceDays * DAY + past;
        assert.throws(
          () => demandFresh(manifest, floor({ graceDays }), now),
          refusal('stale', /best before/),
        );
      }),
    );
  });

  it('where its serial is no lower than the least', () => {
    assert.equal(demandFresh(manifest, floor({ minSerial: serial }), issued), undefined);
    assert.throws(
      () => demandFresh(manifest, floor({ minSerial: serial + 1 }), issued),
      refusal('rolled-back', /has serial 2026110100; this machine takes none below 2026110101/),
    );
  });

  for (const name of ['school', 'arc', 'archy', 'arch2', 'a']) {
    it(`for no machine that boots ${name}`, () => {
      assert.throws(
        () => demandFresh(manifest, floor({ name }), issued),
        refusal('mixed-releases', /is no release of/),
      );
    });
  }

  it('for a machine that boots this name', () => {
    assert.equal(demandFresh(manifest, floor({ name: 'arch' }), issued), undefined);
  });

  it('for its own architecture only', () => {
    demandArchitecture(manifest, 'x86_64');
    for (const arch of ['aarch64', 'x86_64_v3', 'x86', '']) {
      assert.throws(() => demandArchitecture(manifest, arch), refusal('wrong-machine', /is for x86_64/));
    }
  });
});
