import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  byterangesBoundary,
  decodeByteranges,
  encodeByteranges,
} from '../../../src/formats/net/byteranges.ts';
import {
  type ByteRange,
  encodeContentRange,
  encodeRange,
  parseContentRange,
  parseRange,
  type RangeSpec,
  resolveRange,
} from '../../../src/formats/net/range.ts';

const resolve = (field: string, size: number) => resolveRange(parseRange(field) ?? [], size);

test('the examples of RFC 9110 §14.1.2 mean what it says', () => {
  const one = (first: number, last: number) => ({ kind: 'one', range: { first, last } });
  assert.deepEqual(resolve('bytes=0-499', 10000), one(0, 499));
  assert.deepEqual(resolve('bytes=500-999', 10000), one(500, 999));
  assert.deepEqual(resolve('bytes=-500', 10000), one(9500, 9999));
  assert.deepEqual(resolve('bytes=9500-', 10000), one(9500, 9999));
  assert.deepEqual(resolve('bytes=0-0,-1', 10000), {
    kind: 'several',
    ranges: [
      { first: 0, last: 0 },
      { first: 9999, last: 9999 },
    ],
  });
});

test('early userspace probes with 0-0', () => {
  assert.deepEqual(resolve('bytes=0-0', 900_000_000), { kind: 'one', range: { first: 0, last: 0 } });
});

test('a last position beyond the end is the end, up to numbers no file has', () => {
  assert.deepEqual(resolve('bytes=5-18446744073709551615', 10), {
    kind: 'one',
    range: { first: 5, last: 9 },
  });
  assert.deepEqual(resolve('bytes=-99', 10), { kind: 'one', range: { first: 0, last: 9 } });
});

test('ranges beyond the end are left out; none left is unsatisfiable', () => {
  assert.deepEqual(resolve('bytes=10-', 10), { kind: 'unsatisfiable' });
  assert.deepEqual(resolve('bytes=-0', 10), { kind: 'unsatisfiable' });
  assert.deepEqual(resolve('bytes=3-4,10-20', 10), { kind: 'one', range: { first: 3, last: 4 } });
  assert.deepEqual(resolve('bytes=0-0', 0), { kind: 'unsatisfiable' });
  assert.deepEqual(resolve('bytes=-5', 0), { kind: 'full' });
});

test('a unit other than bytes is ignored, whatever its ranges', () => {
  assert.equal(parseRange('lines=1-2'), undefined);
  assert.equal(parseRange('seconds=half'), undefined);
  assert.notEqual(parseRange('BYTES=0-1'), undefined);
});

test('optional white space and empty elements of a list are allowed', () => {
  assert.deepEqual(parseRange('bytes= 0-1 ,,\t2-3'), [
    { first: 0, last: 1 },
    { first: 2, last: 3 },
  ]);
});

for (const field of [
  '',
  'bytes',
  'bytes=',
  'bytes=,',
  'bytes=-',
  'bytes=a-b',
  'bytes=5-2',
  'bytes=0x0-1',
  'bytes=1-2-3',
  'bytes=--1',
  'bytes=+1-2',
  'bytes=1.0-2',
  'bytes=0 -1',
  'bytes =0-1',
  'bytes=0-1;',
  'bytes=0-1, bytes=2-3',
  `bytes=0-${'9'.repeat(21)}`,
  `bytes=${' '.repeat(1100)}0-1`,
  'bytes=0-1\u00a0',
]) {
  test(`malformed: ${JSON.stringify(field.slice(0, 40))}`, () => {
    assert.throws(() => parseRange(field), Malformed);
  });
}

test('seventeen ranges are refused, sixteen are not', () => {
  const list = (count: number) =>
    `bytes=${Array.from({ length: count }, (_, i) => `${i * 2}-${i * 2}`).join(',')}`;
  assert.equal(parseRange(list(16))?.length, 16);
  assert.throws(() => parseRange(list(17)), Malformed);
  assert.throws(() => parseRange(`bytes=0-0${','.repeat(16)}`), Malformed);
});

test('two ranges may overlap, three may not', () => {
  assert.equal(resolve('bytes=0-9,5-14', 100).kind, 'several');
  assert.throws(() => resolve('bytes=0-9,5-14,10-20', 100), Malformed);
  assert.throws(() => resolve('bytes=0-,0-,0-', 100), Malformed);
});

const specs: fc.Arbitrary<RangeSpec> = fc.oneof(
  fc.nat().map((suffix) => ({ suffix })),
  fc.tuple(fc.nat(), fc.option(fc.nat(), { nil: undefined })).map(([first, length]) => ({
    first,
    last: length === undefined ? undefined : first + length,
  })),
);

test('parseRange undoes encodeRange', () => {
  fc.assert(
    fc.property(fc.array(specs, { minLength: 1, maxLength: 16 }), (list) => {
      assert.deepEqual(parseRange(encodeRange(list)), list);
    }),
  );
});

test('resolved ranges always lie inside the representation', () => {
  fc.assert(
    fc.property(fc.array(specs, { minLength: 1, maxLength: 2 }), fc.nat(), (list, size) => {
      const resolved = resolveRange(list, size);
      const ranges =
        resolved.kind === 'one' ? [resolved.range] : resolved.kind === 'several' ? resolved.ranges : [];
      for (const { first, last } of ranges) assert.ok(0 <= first && first <= last && last < size);
    }),
  );
});

test('any text is a list, ignored or Malformed, and nothing else', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 60 }), (text) => {
      for (const field of [text, `bytes=${text}`]) {
        try {
          parseRange(field);
        } catch (error) {
          assert.ok(error instanceof Malformed);
        }
      }
    }),
  );
});

test('Content-Range is written and read', () => {
  assert.equal(encodeContentRange({ first: 0, last: 0 }, 9), 'bytes 0-0/9');
  assert.equal(encodeContentRange(undefined, 9), 'bytes */9');
  assert.deepEqual(parseContentRange('bytes 2-4/9'), { range: { first: 2, last: 4 }, size: 9 });
  assert.deepEqual(parseContentRange('bytes 2-4/*'), { range: { first: 2, last: 4 }, size: undefined });
  assert.deepEqual(parseContentRange('bytes */9'), { range: undefined, size: 9 });
});

for (const field of [
  '',
  'bytes */*',
  'bytes 4-2/9',
  'bytes 2-9/9',
  'bytes 2-4',
  'bytes=2-4/9',
  'lines 1-2/3',
  ' bytes 0-0/1',
]) {
  test(`malformed Content-Range: ${JSON.stringify(field)}`, () => {
    assert.throws(() => parseContentRange(field), Malformed);
  });
}

const DATA = Buffer.from('0123456789--B\r\n--B--\r\n');

/** The body that a frame announces. */
function assemble(ranges: readonly ByteRange[], boundary: string): Buffer {
  const frame = encodeByteranges(ranges, DATA.length, 'text/plain', boundary);
  const parts = ranges.flatMap((range, i) => [
    frame.heads[i] ?? Buffer.alloc(0),
    DATA.subarray(range.first, range.last + 1),
  ]);
  const body = Buffer.concat([...parts, frame.tail]);
  assert.equal(body.length, frame.length);
  assert.equal(byterangesBoundary(frame.contentType), boundary);
  return body;
}

test('multipart/byteranges comes apart as it was put together, even with the delimiter in the data', () => {
  const ranges = [
    { first: 0, last: 4 },
    { first: 2, last: 21 },
  ];
  const parts = decodeByteranges(assemble(ranges, 'B'), 'B');
  assert.deepEqual(
    parts.map(({ range, size, type, data }) => ({ range, size, type, data: Buffer.from(data).toString() })),
    ranges.map((range) => ({
      range,
      size: DATA.length,
      type: 'text/plain',
      data: DATA.subarray(range.first, range.last + 1).toString(),
    })),
  );
});

test('multipart/byteranges cut at any byte but the last line break is malformed', () => {
  const body = assemble([{ first: 0, last: 4 }], 'B');
  for (let length = 0; length < body.length - 2; length++) {
    assert.throws(() => decodeByteranges(body.subarray(0, length), 'B'), Malformed, `${length} bytes`);
  }
  assert.throws(() => decodeByteranges(Buffer.concat([body, Buffer.from('x')]), 'B'), Malformed);
});

test('a part with a header of its own invention is malformed', () => {
  const body = assemble([{ first: 0, last: 4 }], 'B').toString('latin1');
  assert.throws(
    () => decodeByteranges(Buffer.from(body.replace('Content-Type', 'Content-Trick')), 'B'),
    Malformed,
  );
  assert.throws(() => byterangesBoundary('text/plain; boundary=B'), Malformed);
});
