import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readInitramfs } from '../../src/emulator/initramfs.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { foldersFor, initrdsOf, ODD_ARCHIVES } from '../fixtures/odd-initramfs.ts';

/**
 * Whether the reader takes an archive, which a real kernel was asked about (e2e/initramfs.test.ts). Where the reader
 * is stricter than the kernel, the table says so with the reason; that the list is exact is held by both tests.
 */
describe('an odd archive', () => {
  for (const odd of ODD_ARCHIVES) {
    it(`is ${odd.verdict === 'same' ? 'taken' : 'refused'}: ${odd.what}`, async () => {
      assert.equal(odd.why !== undefined, odd.verdict === 'stricter');
      const others = foldersFor([odd]);
      const initrds = initrdsOf(odd);
      const reading = readInitramfs(odd.place === 'first' ? [...initrds, others] : [others, ...initrds]);
      if (odd.verdict === 'same') {
        await reading;
        return;
      }
      await assert.rejects(reading, (error) => {
        assert.ok(error instanceof Refusal, String(error));
        assert.equal(error.code, 'malformed');
        assert.match(error.message, odd.says ?? /./);
        return true;
      });
    });
  }

  it('has a name of its own', () => {
    assert.equal(new Set(ODD_ARCHIVES.map(({ what }) => what)).size, ODD_ARCHIVES.length);
  });
});
