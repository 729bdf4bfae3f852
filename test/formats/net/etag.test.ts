import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  type Conditions,
  encodeTag,
  evaluate,
  parseTag,
  parseTags,
  strongMatch,
  strongTag,
  weakMatch,
} from '../../../src/formats/net/etag.ts';

const NONE: Conditions = { ifMatch: undefined, ifNoneMatch: undefined, ifRange: undefined };
const tag = strongTag('abc');

test('tags are written and read', () => {
  for (const text of ['"abc"', 'W/"abc"', '""']) assert.equal(encodeTag(parseTag(text)), text);
  assert.deepEqual(parseTags('"a", W/"b" ,,"c"'), [
    { weak: false, opaque: 'a' },
    { weak: true, opaque: 'b' },
    { weak: false, opaque: 'c' },
  ]);
  assert.equal(parseTags(' * '), '*');
});

for (const text of ['', 'abc', '"abc', 'w/"abc"', '"a" "b"', '"a""b"', '*, "a"', '"a\u0001"', '"a"x', ',']) {
  test(`malformed: ${JSON.stringify(text)}`, () => assert.throws(() => parseTags(text), Malformed));
}

test('a list is bounded', () => {
  assert.throws(() => parseTags(Array.from({ length: 65 }, () => '"a"').join(',')), Malformed);
  assert.throws(() => parseTags(`"${'a'.repeat(9000)}"`), Malformed);
});

test('the table of RFC 9110 §8.8.3.2', () => {
  const rows = [
    ['W/"1"', 'W/"1"', false, true],
    ['W/"1"', 'W/"2"', false, false],
    ['W/"1"', '"1"', false, true],
    ['"1"', '"1"', true, true],
  ] as const;
  for (const [a, b, strong, weak] of rows) {
    assert.equal(strongMatch(parseTag(a), parseTag(b)), strong);
    assert.equal(weakMatch(parseTag(a), parseTag(b)), weak);
  }
});

test('If-None-Match compares weakly, and says not-modified', () => {
  assert.equal(evaluate({ ...NONE, ifNoneMatch: '"x", W/"abc"' }, tag), 'not-modified');
  assert.equal(evaluate({ ...NONE, ifNoneMatch: '*' }, tag), 'not-modified');
  assert.equal(evaluate({ ...NONE, ifNoneMatch: '"x"' }, tag), 'as-asked');
  assert.equal(evaluate({ ...NONE, ifNoneMatch: 'abc' }, tag), 'as-asked');
});

test('If-Match compares strongly, comes first, and fails closed', () => {
  assert.equal(evaluate({ ...NONE, ifMatch: '"abc"' }, tag), 'as-asked');
  assert.equal(evaluate({ ...NONE, ifMatch: '*' }, tag), 'as-asked');
  assert.equal(evaluate({ ...NONE, ifMatch: 'W/"abc"', ifNoneMatch: '"abc"' }, tag), 'failed');
  assert.equal(evaluate({ ...NONE, ifMatch: 'abc' }, tag), 'failed');
});

test('If-Range holds only for the same strong tag; never for a list, a star or a date', () => {
  assert.equal(evaluate({ ...NONE, ifRange: '"abc"' }, tag), 'as-asked');
  for (const ifRange of ['"x"', 'W/"abc"', '"abc", "abc"', '*', 'Sat, 29 Oct 1994 19:43:31 GMT', '']) {
    assert.equal(evaluate({ ...NONE, ifRange }, tag), 'whole', ifRange);
  }
});
