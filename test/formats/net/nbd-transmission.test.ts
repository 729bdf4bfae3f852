import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../../src/formats/net/nbd.ts';
import {
  decodeNbdChunk,
  decodeNbdReplyHeader,
  encodeNbdChunk,
  NBD_CHUNK_HEADER,
  NBD_DATA_CHUNK_HEADER,
  type NbdChunk,
  type NbdChunkHeader,
  nbdReplyHeaderLength,
  writeNbdDataChunk,
  writeNbdSimpleReply,
} from '../../../src/formats/net/nbd-reply.ts';
import { decodeNbdRequest, encodeNbdRequest, NBD_COMMAND } from '../../../src/formats/net/nbd-request.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');
const COOKIE = 0xdeadbeef_01234567n;

describe('requests', () => {
  const wire = hex('25609513 0004 0000 deadbeef01234567 0000000100000200 00001000');
  const request = {
    flags: 4,
    command: NBD_COMMAND.read,
    cookie: COOKIE,
    offset: 2 ** 32 + 512,
    length: 4096,
  };

  it('are read and written', () => {
    assert.deepEqual(decodeNbdRequest(viewOf(wire)), request);
    assert.deepEqual(encodeNbdRequest(request), wire);
    demandCutsRefused((bytes) => decodeNbdRequest(viewOf(bytes)), wire);
    assert.equal(
      demandFlipsHandled((bytes) => decodeNbdRequest(viewOf(bytes)), wire),
      4 * 4,
    );
  });

  it('are read in the middle of others', () => {
    const many = Buffer.concat([wire, wire, wire.subarray(0, 27)]);
    assert.deepEqual(decodeNbdRequest(viewOf(many), 28), request);
    assert.throws(() => decodeNbdRequest(viewOf(many), 56), malformed(/cut short \(at byte 56\)/));
    assert.throws(() => decodeNbdRequest(viewOf(many), 1), malformed(/no request/));
  });

  it('with an offset that no export reaches stay beyond every export', () => {
    wire.fill(0xff, 16, 24);
    assert.ok(decodeNbdRequest(viewOf(wire)).offset > Number.MAX_SAFE_INTEGER);
    assert.throws(() => encodeNbdRequest({ ...request, offset: 2 ** 53 }), RangeError);
  });

  it('are inverses of their bytes', () => {
    const requests = fc.record({
      flags: fc.integer({ min: 0, max: 0xffff }),
      command: fc.integer({ min: 0, max: 0xffff }),
      cookie: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      offset: fc.maxSafeNat(),
      length: fc.integer({ min: 0, max: 0xffffffff }),
    });
    fc.assert(
      fc.property(requests, (each) =>
        assert.deepEqual(decodeNbdRequest(viewOf(encodeNbdRequest(each))), { ...each }),
      ),
    );
  });
});

describe('simple replies', () => {
  it('are read and written', () => {
    const wire = hex('67446698 00000016 deadbeef01234567');
    const written = Buffer.alloc(20);
    writeNbdSimpleReply(viewOf(written), 4, 22, COOKIE);
    assert.deepEqual(written.subarray(4), wire);
    assert.deepEqual(decodeNbdReplyHeader(wire), { kind: 'simple', error: 22, cookie: COOKIE });
    demandCutsRefused(decodeNbdReplyHeader, wire);
    demandNothingAfter(decodeNbdReplyHeader, wire);
    demandFlipsHandled(decodeNbdReplyHeader, wire);
  });

  it('and chunks say how long their header is as soon as four bytes are there', () => {
    for (const [text, length] of [
      ['67446698', 16],
      ['668e33ef', 20],
    ] as const) {
      for (let cut = 0; cut < 4; cut += 1) {
        assert.equal(nbdReplyHeaderLength(hex(text).subarray(0, cut)), undefined);
      }
      assert.equal(nbdReplyHeaderLength(hex(text)), length);
    }
    assert.throws(() => nbdReplyHeaderLength(hex('6e8a278c')), malformed(/no reply/));
  });
});

const CHUNKS: readonly (readonly [string, boolean, NbdChunk])[] = [
  ['668e33ef 0001 0000 deadbeef01234567 00000000', true, { kind: 'none' }],
  [
    '668e33ef 0000 0001 deadbeef01234567 0000000b 0000000000001000 616263',
    false,
    { kind: 'offset-data', offset: 4096, data: Buffer.from('abc') },
  ],
  [
    '668e33ef 0001 0002 deadbeef01234567 0000000c 0000000100000000 00001000',
    true,
    { kind: 'offset-hole', offset: 2 ** 32, length: 4096 },
  ],
  [
    '668e33ef 0001 8001 deadbeef01234567 00000008 00000005 0002 6e6f',
    true,
    { kind: 'error', error: 5, message: 'no' },
  ],
  [
    '668e33ef 0001 8002 deadbeef01234567 00000010 00000005 0002 6e6f 0000000000001000',
    true,
    { kind: 'error-offset', error: 5, message: 'no', offset: 4096 },
  ],
  [
    '668e33ef 0001 8009 deadbeef01234567 00000006 00000005 0000',
    true,
    { kind: 'other-error', type: 0x8009, error: 5, message: '' },
  ],
];

/** A chunk whole: its header, and exactly the payload that it names. */
function decodeChunk(bytes: Uint8Array): NbdChunk {
  const header = decodeNbdReplyHeader(bytes.subarray(0, NBD_CHUNK_HEADER)) as NbdChunkHeader;
  return decodeNbdChunk(header, bytes.subarray(NBD_CHUNK_HEADER));
}

describe('chunks', () => {
  for (const [text, last, chunk] of CHUNKS) {
    it(`${chunk.kind} is read and written`, () => {
      const wire = hex(text);
      assert.deepEqual(decodeChunk(wire), chunk);
      assert.deepEqual(encodeNbdChunk(COOKIE, chunk, last), wire);
      demandCutsRefused(decodeChunk, wire);
      demandNothingAfter(decodeChunk, wire);
      demandFlipsHandled(
        (bytes) => (nbdReplyHeaderLength(bytes) === NBD_CHUNK_HEADER ? decodeChunk(bytes) : undefined),
        wire,
      );
    });
  }

  it('of data have a header that is written in place', () => {
    const written = Buffer.alloc(2 + NBD_DATA_CHUNK_HEADER + 3);
    const offset = 2 ** 40 + 1;
    writeNbdDataChunk(viewOf(written), 2, { cookie: COOKIE, offset, length: 3, last: true });
    written.write('abc', 2 + NBD_DATA_CHUNK_HEADER);
    const data = Buffer.from('abc');
    assert.deepEqual(
      written.subarray(2),
      encodeNbdChunk(COOKIE, { kind: 'offset-data', offset, data }, true),
    );
  });

  for (const [why, text, fact] of [
    ['NONE that is not the last', '668e33ef 0000 0000 0000000000000000 00000000', /not the last/],
    ['NONE with a payload', '668e33ef 0001 0000 0000000000000000 00000001 00', /with a payload/],
    ['data without data', '668e33ef 0001 0001 0000000000000000 00000008 0000000000000000', /without data/],
    [
      'a hole of nothing',
      '668e33ef 0001 0002 0000000000000000 0000000c 0000000000000000 00000000',
      /no bytes/,
    ],
    ['an unknown type', '668e33ef 0001 0007 0000000000000000 00000000', /not known/],
    ['an error that is none', '668e33ef 0001 8001 0000000000000000 00000006 00000000 0000', /is none/],
    [
      'a message longer than its error',
      '668e33ef 0001 8001 0000000000000000 00000006 00000005 0001',
      /another length/,
    ],
    [
      'a message shorter than it',
      '668e33ef 0001 8001 0000000000000000 00000007 00000005 0000 61',
      /another length/,
    ],
    [
      'a message that writes to a terminal',
      '668e33ef 0001 8001 0000000000000000 00000007 00000005 0001 1b',
      /control/,
    ],
    ['an offset beyond 2^53', '668e33ef 0001 0001 0000000000000000 00000009 0020000000000000 61', /2\^53/],
  ] as const) {
    it(`${why}: malformed`, () => {
      assert.throws(() => decodeChunk(hex(text)), malformed(fact));
    });
  }

  it('are not written where they would not be read', () => {
    for (const [chunk, last] of [
      [{ kind: 'none' }, false],
      [{ kind: 'offset-data', offset: 0, data: Buffer.alloc(0) }, true],
      [{ kind: 'offset-hole', offset: 0, length: 0 }, true],
      [{ kind: 'error', error: 0, message: '' }, true],
    ] as const) {
      assert.throws(() => encodeNbdChunk(COOKIE, chunk, last), RangeError);
    }
  });

  it('are inverses of their bytes', () => {
    const offset = fc.maxSafeNat();
    const error = fc.integer({ min: 1, max: 0xffffffff });
    const message = fc.stringMatching(/^[ -~]{0,30}$/);
    const chunks: fc.Arbitrary<NbdChunk> = fc.oneof(
      fc.record({
        kind: fc.constant('offset-data' as const),
        offset,
        data: fc.uint8Array({ minLength: 1, maxLength: 50 }).map((data) => Buffer.from(data)),
      }),
      fc.record({ kind: fc.constant('error' as const), error, message }),
      fc.record({ kind: fc.constant('error-offset' as const), error, message, offset }),
    );
    fc.assert(
      fc.property(chunks, (chunk) =>
        assert.deepEqual(decodeChunk(encodeNbdChunk(1n, chunk, true)), { ...chunk }),
      ),
    );
  });
});
