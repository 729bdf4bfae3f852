import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { printableText } from '../../../src/formats/records/printable-text.ts';

const shown = (text: string, limit = 100) => printableText(Buffer.from(text), limit);

it('lines become one, and what a terminal obeys is written out', () => {
  assert.equal(shown('  one \r\n\n two\n'), 'one / two');
  assert.equal(shown('a\x1b[2Jb\x00\x7f\u009b'), 'a\\x1b[2Jb\\x00\\x7f\\x9b');
  assert.equal(shown('a\u202eb\u2028'), 'a\\u202eb');
  assert.equal(shown('Jörg — ☃'), 'Jörg — ☃');
});

it('of a long text the end is kept, and it says so', () => {
  assert.equal(shown('0123456789', 4), '… 6789');
  assert.equal(shown('0123456789', 10), '0123456789');
});

it('nothing that a terminal obeys comes through, whatever the bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 200 }), (octets, limit) => {
      assert.doesNotMatch(printableText(octets, limit), /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/);
    }),
  );
});
