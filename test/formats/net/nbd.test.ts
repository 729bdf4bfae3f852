import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeNbdClientFlags,
  decodeNbdExportAnswer,
  decodeNbdGreeting,
  encodeNbdClientFlags,
  encodeNbdExportAnswer,
  encodeNbdGreeting,
} from '../../../src/formats/net/nbd.ts';
import {
  decodeNbdOption,
  decodeNbdOptionFrame,
  encodeNbdOption,
  encodeNbdOptionFrame,
  MAX_NBD_OPTION_DATA,
  type NbdOption,
  nbdOptionLength,
} from '../../../src/formats/net/nbd-option.ts';
import {
  decodeNbdOptionReply,
  encodeNbdOptionReply,
  NBD_REFUSED,
  type NbdOptionReply,
  nbdOptionReplyLength,
} from '../../../src/formats/net/nbd-option-reply.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const hex = (text: string): Buffer => Buffer.from(text.replace(/[\s|]/g, ''), 'hex');
const MAGIC = '49484156454f5054';
const REPLY = '0003e889045565a9';

describe('the greeting', () => {
  const wire = hex(`4e42444d41474943 ${MAGIC} 0003`);

  it('is what newstyle servers say', () => {
    assert.equal(decodeNbdGreeting(wire), 3);
    assert.deepEqual(encodeNbdGreeting(3), wire);
    demandCutsRefused(decodeNbdGreeting, wire);
    demandNothingAfter(decodeNbdGreeting, wire);
    assert.equal(demandFlipsHandled(decodeNbdGreeting, wire), 16 * 4);
  });

  it('is told from that of an oldstyle server', () => {
    const oldstyle = Buffer.concat([wire.subarray(0, 8), hex('0000420281861253 0003')]);
    assert.throws(() => decodeNbdGreeting(oldstyle), malformed(/not newstyle \(at byte 8\)/));
  });

  it('is answered with flags, of which there are two', () => {
    for (const flags of [0, 1, 2, 3]) {
      assert.equal(decodeNbdClientFlags(encodeNbdClientFlags(flags)), flags);
    }
    for (const flags of [4, 7, 0x80000000, 0xffffffff]) {
      assert.throws(() => decodeNbdClientFlags(encodeNbdClientFlags(flags)), malformed(/client flag/));
    }
    demandCutsRefused(decodeNbdClientFlags, encodeNbdClientFlags(3));
    demandNothingAfter(decodeNbdClientFlags, encodeNbdClientFlags(3));
  });
});

describe('the answer to EXPORT_NAME', () => {
  for (const noZeroes of [true, false]) {
    it(`is strict, ${noZeroes ? 'without' : 'with'} its zeroes`, () => {
      const decode = (bytes: Uint8Array): unknown => decodeNbdExportAnswer(bytes, noZeroes);
      const wire = encodeNbdExportAnswer({ size: 2 ** 53 - 1, flags: 0x103 }, noZeroes);
      assert.equal(wire.length, noZeroes ? 10 : 134);
      assert.equal(wire.subarray(0, 10).toString('hex'), '001fffffffffffff0103');
      assert.deepEqual(decode(wire), { size: 2 ** 53 - 1, flags: 0x103 });
      demandCutsRefused(decode, wire);
      demandNothingAfter(decode, wire);
      demandFlipsHandled(decode, wire);
    });
  }

  it('is refused where it cannot be', () => {
    assert.throws(() => decodeNbdExportAnswer(hex('0020000000000000 0001'), true), malformed(/2\^53/));
    assert.throws(() => decodeNbdExportAnswer(hex('0000000000000000 0002'), true), malformed(/HAS_FLAGS/));
    const dirty = encodeNbdExportAnswer({ size: 1, flags: 1 }, false);
    dirty[133] = 1;
    assert.throws(() => decodeNbdExportAnswer(dirty, false), malformed(/zeroes that are none/));
  });
});

const OPTIONS: readonly (readonly [string, NbdOption])[] = [
  [`${MAGIC} 00000001 00000004 726f6f74`, { kind: 'export-name', name: 'root' }],
  [`${MAGIC} 00000001 00000000`, { kind: 'export-name', name: '' }],
  [`${MAGIC} 00000002 00000000`, { kind: 'abort' }],
  [`${MAGIC} 00000003 00000000`, { kind: 'list' }],
  [`${MAGIC} 00000008 00000000`, { kind: 'structured-reply' }],
  [
    `${MAGIC} 00000007 0000000e 00000004 726f6f74 0002 0003 0000`,
    { kind: 'go', name: 'root', wants: [3, 0] },
  ],
  [`${MAGIC} 00000006 00000006 00000000 0000`, { kind: 'info', name: '', wants: [] }],
  [`${MAGIC} 0000000b 00000000`, { kind: 'other', option: 11 }],
];

const decodeOption = (bytes: Uint8Array): NbdOption => decodeNbdOption(decodeNbdOptionFrame(bytes));

describe('options', () => {
  for (const [text, option] of OPTIONS) {
    it(`${option.kind} is read and written`, () => {
      assert.deepEqual(decodeOption(hex(text)), option);
      assert.deepEqual(encodeNbdOption(option), hex(text));
      demandCutsRefused(decodeOption, hex(text));
      demandNothingAfter(decodeOption, hex(text));
      demandFlipsHandled(decodeOption, hex(text));
    });
  }

  it('say how long they are as soon as 16 bytes are there', () => {
    for (const [text] of OPTIONS) {
      const wire = hex(text);
      for (let length = 0; length < 16; length += 1) {
        assert.equal(nbdOptionLength(wire.subarray(0, length)), undefined);
      }
      for (let length = 16; length <= wire.length; length += 1) {
        assert.equal(nbdOptionLength(wire.subarray(0, length)), wire.length);
      }
    }
  });

  it('are told from garbage at the first wrong byte', () => {
    for (let at = 0; at < 8; at += 1) {
      const wire = hex(MAGIC).subarray(0, at + 1);
      wire[at] = (wire[at] ?? 0) ^ 1;
      assert.throws(() => nbdOptionLength(wire), malformed(new RegExp(`at byte ${at}\\)`)));
    }
  });

  it('of 4 GiB are refused by their header', () => {
    const most = encodeNbdOptionFrame({ option: 99, data: Buffer.alloc(MAX_NBD_OPTION_DATA) });
    assert.equal(nbdOptionLength(most.subarray(0, 16)), most.length);
    for (const length of [MAX_NBD_OPTION_DATA + 1, 0xffffffff]) {
      const wire = hex(`${MAGIC} 00000063 ${length.toString(16).padStart(8, '0')}`);
      assert.throws(() => nbdOptionLength(wire), malformed(/more data than any/));
    }
    assert.throws(() => encodeNbdOptionFrame({ option: 1, data: Buffer.alloc(16385) }), RangeError);
  });

  it('ABORT may have data, which says nothing', () => {
    assert.deepEqual(decodeNbdOption({ option: 2, data: Buffer.from('bye') }), { kind: 'abort' });
  });

  for (const [why, option, data] of [
    ['LIST with data', 3, '00'],
    ['STRUCTURED_REPLY with data', 8, '00'],
    ['a name with NUL', 1, '6100'],
    ['a name with an escape', 1, '1b5b324a'],
    ['a name that is not UTF-8', 1, 'ff'],
    ['a name of 4097 bytes', 1, '61'.repeat(4097)],
    ['GO without a count', 7, '00000001 61'],
    ['GO with a name longer than itself', 7, '00000002 61 0000'],
    ['GO with a name of 4 GiB', 7, 'ffffffff 61 0000'],
    ['GO with a name of 4097 bytes', 7, `00001001 ${'61'.repeat(4097)} 0000`],
    ['GO with fewer requests than it says', 7, '00000000 0002 0000'],
    ['GO with more', 7, '00000000 0001 0000 0001'],
    ['GO that asks twice', 7, '00000000 0002 0003 0003'],
    ['INFO with 65535 requests that are not there', 6, '00000000 ffff'],
  ] as const) {
    it(`${why} is malformed`, () => {
      assert.throws(() => decodeNbdOption({ option, data: hex(data) }), malformed(/^NBD: /));
    });
  }
});

const ANSWERS: readonly (readonly [number, string, NbdOptionReply])[] = [
  [3, `${REPLY} 00000003 00000001 00000000`, { kind: 'ack' }],
  [
    3,
    `${REPLY} 00000003 00000002 0000000a 00000004 726f6f74 6869`,
    { kind: 'server', name: 'root', details: 'hi' },
  ],
  [
    7,
    `${REPLY} 00000007 00000003 0000000c 0000 0000000000001000 0103`,
    { kind: 'info', info: { kind: 'export', size: 4096, flags: 0x103 } },
  ],
  [7, `${REPLY} 00000007 00000003 00000003 0001 61`, { kind: 'info', info: { kind: 'name', name: 'a' } }],
  [
    7,
    `${REPLY} 00000007 00000003 00000003 0002 61`,
    { kind: 'info', info: { kind: 'description', text: 'a' } },
  ],
  [
    6,
    `${REPLY} 00000006 00000003 0000000e 0003 00000001 00001000 02000000`,
    { kind: 'info', info: { kind: 'block-size', minimum: 1, preferred: 4096, maximum: 1 << 25 } },
  ],
  [7, `${REPLY} 00000007 00000003 00000002 0009`, { kind: 'info', info: { kind: 'other', type: 9 } }],
  [
    11,
    `${REPLY} 0000000b 80000001 00000002 6e6f`,
    { kind: 'refused', type: NBD_REFUSED.unsupported, message: 'no' },
  ],
  [10, `${REPLY} 0000000a 00000004 00000000`, { kind: 'other', type: 4 }],
];

describe('answers to options', () => {
  for (const [option, text, answer] of ANSWERS) {
    const decode = (bytes: Uint8Array): NbdOptionReply => decodeNbdOptionReply(bytes, option);
    const what = answer.kind === 'info' ? `info ${answer.info.kind}` : answer.kind;

    it(`${what} is read and written`, () => {
      assert.deepEqual(decode(hex(text)), answer);
      assert.deepEqual(encodeNbdOptionReply(option, answer), hex(text));
      demandCutsRefused(decode, hex(text));
      demandNothingAfter(decode, hex(text));
      demandFlipsHandled(decode, hex(text));
    });
  }

  it('say how long they are as soon as 20 bytes are there', () => {
    for (const [, text] of ANSWERS) {
      const wire = hex(text);
      for (let length = 0; length <= wire.length; length += 1) {
        assert.equal(nbdOptionReplyLength(wire.subarray(0, length)), length < 20 ? undefined : wire.length);
      }
    }
  });

  for (const [why, text, fact] of [
    ['of another protocol', '0003e889045565aa 00000007 00000001 00000000', /no answer/],
    ['to another option', `${REPLY} 00000006 00000001 00000000`, /another option/],
    ['of 4 GiB', `${REPLY} 00000007 00000001 ffffffff`, /more data than any/],
    ['ACK with data', `${REPLY} 00000007 00000001 00000001 00`, /ACK with data/],
    ['a name longer than itself', `${REPLY} 00000007 00000002 00000005 00000002 61`, /longer than its/],
    [
      'a minimum that is no power of two',
      `${REPLY} 00000007 00000003 0000000e 0003 00000003 00001000 02000000`,
      /cannot be/,
    ],
    ['a minimum of 0', `${REPLY} 00000007 00000003 0000000e 0003 00000000 00001000 02000000`, /cannot be/],
    [
      'a minimum of 128 KiB',
      `${REPLY} 00000007 00000003 0000000e 0003 00020000 00020000 02000000`,
      /cannot be/,
    ],
    [
      '256 bytes preferred',
      `${REPLY} 00000007 00000003 0000000e 0003 00000001 00000100 02000000`,
      /cannot be/,
    ],
    [
      'a maximum below what is preferred',
      `${REPLY} 00000007 00000003 0000000e 0003 00000001 00001000 00000fff`,
      /cannot be/,
    ],
  ] as const) {
    it(`${why}: malformed`, () => {
      assert.throws(() => decodeNbdOptionReply(hex(text), 7), malformed(fact));
    });
  }
});

const text = fc
  .string({ unit: 'grapheme', maxLength: 40 })
  .filter((each) => !/[\x00-\x1f\x7f-\x9f]/.test(each));
const u16 = fc.integer({ min: 0, max: 0xffff });
const wants = fc.uniqueArray(u16, { maxLength: 20 });

describe('the handshake', () => {
  it('options are inverses of their bytes', () => {
    const options: fc.Arbitrary<NbdOption> = fc.oneof(
      fc.record({ kind: fc.constant('export-name' as const), name: text }),
      fc.record({ kind: fc.constantFrom('info' as const, 'go' as const), name: text, wants }),
      fc.record({ kind: fc.constant('other' as const), option: fc.integer({ min: 9, max: 0xffffffff }) }),
    );
    fc.assert(
      fc.property(options, (option) =>
        assert.deepEqual(decodeOption(encodeNbdOption(option)), { ...option }),
      ),
    );
  });

  it('any bytes are an option, or Malformed, and nothing else', () => {
    const seeded = fc
      .tuple(fc.integer({ min: 0, max: 12 }), fc.uint8Array({ maxLength: 60 }))
      .map(([option, data]) => encodeNbdOptionFrame({ option, data }));
    fc.assert(
      fc.property(fc.oneof(seeded, fc.uint8Array({ maxLength: 40 })), (bytes) => {
        try {
          decodeOption(bytes);
        } catch (error) {
          assert.ok(malformed(/^NBD: /)(error), String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('does not write what it would not read', () => {
    assert.throws(() => encodeNbdOption({ kind: 'export-name', name: 'a\0' }), RangeError);
    assert.throws(() => encodeNbdOption({ kind: 'go', name: 'a'.repeat(4097), wants: [] }), RangeError);
    assert.throws(() => encodeNbdOption({ kind: 'go', name: '', wants: [1, 1] }), RangeError);
    assert.throws(() => encodeNbdOptionReply(7, { kind: 'refused', type: 1, message: '' }), RangeError);
    const info = { kind: 'block-size', minimum: 3, preferred: 4096, maximum: 1 << 25 } as const;
    assert.throws(() => encodeNbdOptionReply(7, { kind: 'info', info }), RangeError);
  });
});
