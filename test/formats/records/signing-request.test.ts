import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  decodeSigningRequest,
  encodeSigningRequest,
  MAX_REQUEST_INDEX,
  MAX_SIGNATURES,
  type SigningRequest,
  signatureNumber,
} from '../../../src/formats/records/signing-request.ts';
import { demandCutsRefused, demandNothingAfter, malformed } from '../strict.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const WIDE = 'c'.repeat(128);
const ID = '0123456789abcdef';
const FINGERPRINT = 'd'.repeat(40);
const KERNEL = 'arch/boot/x86_64/vmlinuz-linux';

const LINES = [
  'bootseal-request 2',
  'release arch/2026.11.01',
  `manifest ${A}`,
  `certificate ca ${A}`,
  `certificate codesign ${B}`,
  `certificate manifest ${B}`,
  `certificate boot ${B}`,
  `certificate ca-${ID} ${A}`,
  `certificate boot-${ID} ${B}`,
  `openpgp openpgp ${FINGERPRINT}`,
  `openpgp openpgp-script ${FINGERPRINT}`,
  'leaf leaf rsa 3072 2026-10-31T00:00:00Z 2027-05-10T00:00:00Z',
  `leaf leaf-${ID} p256 256 2026-10-31T00:00:00Z 2027-05-10T00:00:00Z`,
  `record 10 ${B} boot.${ID}.ipxe`,
  `record 9 ${A} release.manifest`,
  `kept ${B} ${KERNEL}.cms.sig`,
  `sign 0001 leaf rsa-sha256 ${A} 7 .ipxe.sig ${KERNEL}`,
  `sign 0002 openpgp rsa-sha512 ${WIDE} 7 .sig ${KERNEL}`,
  `sign 0003 leaf-${ID} p256-sha256 ${A} 7 .${ID}.ipxe.sig ${KERNEL}`,
  'text manifest rsa-sha256 .cms.sig release.manifest',
  'text openpgp-script rsa-sha512 .sig grub.cfg',
  `text boot-${ID} p256-sha256 .sig boot.${ID}.ipxe`,
];
const bytesOf = (lines: readonly string[]) => Buffer.from(`${lines.join('\n')}\n`, 'latin1');
const WHOLE = bytesOf(LINES);

const REQUEST: SigningRequest = {
  release: 'arch/2026.11.01',
  manifestSha256: A,
  certificates: [
    { key: 'ca', sha256: A },
    { key: 'codesign', sha256: B },
    { key: 'manifest', sha256: B },
    { key: 'boot', sha256: B },
    { key: `ca-${ID}`, sha256: A },
    { key: `boot-${ID}`, sha256: B },
  ],
  openpgp: ['openpgp', 'openpgp-script'].map((key) => ({ key, fingerprint: FINGERPRINT })),
  leaves: [
    {
      key: 'leaf',
      kind: 'rsa',
      bits: 3072,
      notBefore: Date.UTC(2026, 9, 31),
      notAfter: Date.UTC(2027, 4, 10),
    },
    {
      key: `leaf-${ID}`,
      kind: 'p256',
      bits: 256,
      notBefore: Date.UTC(2026, 9, 31),
      notAfter: Date.UTC(2027, 4, 10),
    },
  ],
  records: [
    { path: `boot.${ID}.ipxe`, size: 10, sha256: B },
    { path: 'release.manifest', size: 9, sha256: A },
  ],
  kept: [{ path: `${KERNEL}.cms.sig`, sha256: B }],
  signatures: [
    {
      number: 1,
      key: 'leaf',
      algorithm: 'rsa-sha256',
      digest: A,
      size: 7,
      suffix: '.ipxe.sig',
      path: KERNEL,
    },
    {
      number: 2,
      key: 'openpgp',
      algorithm: 'rsa-sha512',
      digest: WIDE,
      size: 7,
      suffix: '.sig',
      path: KERNEL,
    },
    {
      number: 3,
      key: `leaf-${ID}`,
      algorithm: 'p256-sha256',
      digest: A,
      size: 7,
      suffix: `.${ID}.ipxe.sig`,
      path: KERNEL,
    },
  ],
  texts: [
    { key: 'manifest', algorithm: 'rsa-sha256', suffix: '.cms.sig', path: 'release.manifest' },
    { key: 'openpgp-script', algorithm: 'rsa-sha512', suffix: '.sig', path: 'grub.cfg' },
    { key: `boot-${ID}`, algorithm: 'p256-sha256', suffix: '.sig', path: `boot.${ID}.ipxe` },
  ],
};

/** Refused, or a request of its own that is written in no other way. Answers whether it was taken. */
function canonical(bytes: Uint8Array): boolean {
  let request: SigningRequest;
  try {
    request = decodeSigningRequest(bytes);
  } catch (error) {
    assert.ok(error instanceof Malformed, (error as Error).stack);
    return false;
  }
  assert.deepEqual(Buffer.from(encodeSigningRequest(request)), Buffer.from(bytes));
  return true;
}

describe('the index of a signing request', () => {
  it('is these lines', () => {
    assert.equal(Buffer.from(encodeSigningRequest(REQUEST)).toString('latin1'), WHOLE.toString('latin1'));
    assert.deepEqual(decodeSigningRequest(WHOLE), REQUEST);
  });

  it('may ask for nothing', () => {
    const nothing = {
      ...REQUEST,
      certificates: [],
      leaves: [],
      records: [],
      kept: [],
      signatures: [],
      texts: [],
    };
    assert.deepEqual(decodeSigningRequest(encodeSigningRequest(nothing)), nothing);
  });

  it('is refused with anything after it, and cut anywhere but behind a line that may be the last', () => {
    demandCutsRefused(decodeSigningRequest, bytesOf(LINES.slice(0, 3)));
    demandNothingAfter(decodeSigningRequest, WHOLE);
    for (let length = 0; length < WHOLE.length; length++) {
      if (canonical(WHOLE.subarray(0, length))) assert.equal(WHOLE[length - 1], 0x0a, `cut at ${length}`);
    }
  });

  it('with any byte changed is refused, or another request', () => {
    for (let at = 0; at < WHOLE.length; at++) {
      for (const mask of [0x01, 0x20, 0x80, 0xff]) {
        const bytes = Buffer.from(WHOLE);
        bytes[at] = (bytes[at] ?? 0) ^ mask;
        canonical(bytes);
      }
    }
  });

  for (const [at, line] of LINES.entries()) {
    const [key = ''] = line.split(' ');
    const others = (...changed: string[]) =>
      bytesOf(LINES.flatMap((other, n) => (n === at ? changed : [other])));

    it(`line ${at + 1} (${key}) is refused twice`, () => {
      assert.throws(() => decodeSigningRequest(others(line, line)), Malformed);
    });

    it(`line ${at + 1} (${key}) is refused cut at any length, with more behind it, or with other blanks`, () => {
      for (let length = 0; length < line.length; length++) {
        // The last word of some lines is free text: shorter, it is another.
        const cut = others(line.slice(0, length));
        const free = /^(release|record|kept|sign|text)$/.test(key) && length > line.lastIndexOf(' ') + 1;
        if (free) canonical(cut);
        else assert.throws(() => decodeSigningRequest(cut), Malformed, `cut at ${length}`);
      }
      for (const other of [
        `${line} `,
        ` ${line}`,
        `${line} x`,
        line.replace(' ', '  '),
        line.replace(' ', '\t'),
      ])
        assert.throws(() => decodeSigningRequest(others(other)), Malformed, other);
      assert.throws(() => decodeSigningRequest(others(`${line}\r`)), Malformed);
    });

    it(`line ${at + 1} (${key}) is refused anywhere else, but among lines of its kind`, () => {
      const rest = LINES.filter((_, n) => n !== at);
      for (let place = 0; place <= rest.length; place++) {
        if (place === at) continue;
        const moved = [...rest.slice(0, place), line, ...rest.slice(place)];
        const sameKind = moved
          .map((text) => text.split(' ')[0])
          .every((word, n) => word === LINES[n]?.split(' ')[0]);
        if (sameKind && key !== 'sign') assert.ok(canonical(bytesOf(moved)));
        else assert.throws(() => decodeSigningRequest(bytesOf(moved)), Malformed, `at ${place}`);
      }
    });
  }

  const swapped = (from: string | RegExp, to: string) => WHOLE.toString('latin1').replace(from, to);
  const bad: readonly (readonly [string, string, RegExp])[] = [
    ['a later version', swapped('request 2', 'request 3'), /first line/],
    [
      'an earlier version',
      swapped('request 2', 'request 1'),
      /earlier Bootseal, which signed records blindly/,
    ],
    ['a release that climbs', swapped('arch/2026.11.01', '../2026.11.01'), /NAME\/VERSION/],
    ['a digest in capitals', swapped(`manifest ${A}`, `manifest ${A.toUpperCase()}`), /SHA-256/],
    [
      'a certificate of a leaf',
      swapped('certificate codesign', 'certificate leaf'),
      /no certificate is called/,
    ],
    [
      'a certificate with a path for a name',
      swapped('certificate ca ', 'certificate ../ca '),
      /no certificate/,
    ],
    ['a fingerprint of 64 digits', swapped(FINGERPRINT, A), /fingerprint/],
    ['a leaf with the name of a CA', swapped('leaf leaf rsa', 'leaf ca rsa'), /no leaf is called/],
    ['a leaf by an algorithm nobody has', swapped('leaf rsa', 'leaf ed25519'), /rsa or p256/],
    ['a P-256 leaf of another length', swapped('p256 256 ', 'p256 384 '), /256/],
    ['a leaf of 02048 bits', swapped('rsa 3072', 'rsa 02048'), /bits/],
    ['a leaf that begins on 30 February', swapped('2026-10-31', '2026-02-30'), /leaf is no time/],
    ['a record that climbs', swapped('release.manifest', '../release.manifest'), /unsafe path/],
    ['an absolute record', swapped('release.manifest', '/release.manifest'), /unsafe path/],
    ['a kept seal below itself', swapped(`${B} ${KERNEL}.cms`, `${B} ./${KERNEL}.cms`), /unsafe path/],
    ['a size with a sign', swapped('record 9 ', 'record +9 '), /size/],
    ['a size beyond every number', swapped('record 9 ', 'record 9007199254740993 '), /size/],
    ['signatures that begin at 2', swapped('sign 0001', 'sign 0002'), /counted/],
    ['a signature without its number', swapped('sign 0003', 'sign 0004'), /counted/],
    ['a short number', swapped('sign 0001', 'sign 1'), /counted/],
    ['a key nobody has', swapped('sign 0001 leaf ', 'sign 0001 ca '), /no key for payload is called/],
    [
      'a digest for the manifest key',
      swapped('sign 0001 leaf ', 'sign 0001 manifest '),
      /no key for payload/,
    ],
    ['a digest for the boot key', swapped('sign 0001 leaf ', 'sign 0001 boot '), /no key for payload/],
    [
      'a digest for the OpenPGP key of scripts',
      swapped('sign 0002 openpgp ', 'sign 0002 openpgp-script '),
      /no key for payload/,
    ],
    [
      'a text for the codesign key',
      swapped('text manifest', 'text codesign'),
      /no key for records or scripts/,
    ],
    [
      'a text for the payload’s OpenPGP key',
      swapped('text openpgp-script', 'text openpgp'),
      /no key for records/,
    ],
    ['a text for a leaf', swapped(`text boot-${ID}`, `text leaf-${ID}`), /no key for records or scripts/],
    [
      'a text with a loader’s seal',
      swapped('rsa-sha256 .cms.sig', 'rsa-sha256 .ipxe.sig'),
      /no seal ends in/,
    ],
    ['a digest with the seal of a root hash', swapped(' 7 .ipxe.sig', ' 7 .gpg'), /no seal ends in/],
    [
      'a text by SHA-512',
      swapped('text manifest rsa-sha256', 'text manifest rsa-sha512'),
      /no such algorithm/,
    ],
    ['a script’s OpenPGP by SHA-256', swapped('script rsa-sha512', 'script rsa-sha256'), /no such algorithm/],
    ['an unsafe path to a text', swapped('.cms.sig release', '.cms.sig ../release'), /unsafe path/],
    ['a text asked twice', swapped('.sig grub.cfg', '.cms.sig release.manifest'), /is there twice/],
    ['a text whose seal is asked as payload’s', swapped('.sig grub.cfg', `.sig ${KERNEL}`), /is there twice/],
    ['SHA-1', swapped('rsa-sha256', 'rsa-sha1'), /no such algorithm/],
    ['OpenPGP by SHA-256', swapped('rsa-sha512', 'rsa-sha256'), /no such algorithm/],
    ['CMS by SHA-512', swapped(`leaf rsa-sha256 ${A}`, `leaf rsa-sha512 ${WIDE}`), /no such algorithm/],
    ['a digest of another length', swapped(`rsa-sha256 ${A}`, `rsa-sha256 ${A}00`), /another length/],
    ['a digest that is no hexadecimal', swapped(`rsa-sha256 ${A}`, `rsa-sha256 ${'g'.repeat(64)}`), /digest/],
    ['a suffix that is none', swapped(' .sig ', ' .exe '), /no seal ends in/],
    ['a suffix that is a path', swapped(' .sig ', ' /../x.sig '), /no seal ends in/],
    ['an unsafe path to sign', swapped(`.sig ${KERNEL}\n`, `.sig ../${KERNEL}\n`), /unsafe path/],
    ['one seal asked twice', swapped(` .${ID}.ipxe.sig `, ' .ipxe.sig '), /is there twice/],
    ['a seal both kept and asked', swapped(`${KERNEL}.cms.sig`, `${KERNEL}.sig`), /is there twice/],
    ['a record that is a seal', swapped(`9 ${A} release.manifest`, `9 ${A} ${KERNEL}.sig`), /is there twice/],
    ['an empty line', `${WHOLE.toString('latin1')}\n`, /misplaced/],
    ['a line nobody knows', `${WHOLE.toString('latin1')}note x\n`, /misplaced/],
    ['a byte beyond ASCII', swapped('vmlinuz', 'vml\xednuz'), /ASCII/],
    ['a NUL', swapped('vmlinuz', 'vml\0nuz'), /ASCII/],
  ];
  for (const [what, text, fact] of bad) {
    it(`refuses ${what}`, () => {
      assert.throws(() => decodeSigningRequest(Buffer.from(text, 'latin1')), malformed(fact));
    });
  }

  it('has at most 50,000 signatures, of payload and of texts together, and is refused by its length before it is read', () => {
    const [payload] = REQUEST.signatures;
    const [text] = REQUEST.texts;
    assert.ok(payload && text);
    const many = (payloads: number, texts: number): SigningRequest => ({
      ...REQUEST,
      signatures: Array.from({ length: payloads }, (_, at) => ({
        ...payload,
        number: at + 1,
        path: `k${at}`,
      })),
      texts: Array.from({ length: texts }, (_, at) => ({ ...text, path: `t${at}` })),
    });
    assert.equal(MAX_SIGNATURES, 50_000);
    for (const [payloads, texts] of [
      [MAX_SIGNATURES, 0],
      [0, MAX_SIGNATURES],
      [20_000, 30_000],
    ] as const) {
      const most = encodeSigningRequest(many(payloads, texts));
      assert.ok(most.length < MAX_REQUEST_INDEX);
      const { signatures, texts: read } = decodeSigningRequest(most);
      assert.deepEqual([signatures.length, read.length], [payloads, texts]);
    }
    for (const [payloads, texts, fact] of [
      [MAX_SIGNATURES + 1, 0, /more than 50000 lines of sign/],
      [0, MAX_SIGNATURES + 1, /more than 50000 lines of text/],
      [20_000, 30_001, /more than 50000 signatures/],
    ] as const)
      assert.throws(() => encodeSigningRequest(many(payloads, texts)), malformed(fact));
    const line = `record 9 ${A} x\n`;
    const long = WHOLE.toString('latin1') + line.repeat(MAX_REQUEST_INDEX / line.length);
    assert.throws(() => decodeSigningRequest(Buffer.from(long)), malformed(/bytes/));
  });

  it('numbers have four digits, or as many as they need', () => {
    assert.deepEqual([1, 12, 2000, 50_000].map(signatureNumber), ['0001', '0012', '2000', '50000']);
  });

  for (const [what, request] of [
    ['a newline in a path', { ...REQUEST, records: [{ path: 'a\nb', size: 1, sha256: A }] }],
    ['a blank in a path', { ...REQUEST, records: [{ path: 'a b', size: 1, sha256: A }] }],
    // Latin-1 would keep its low byte, "A", and write another path.
    ['a letter beyond ASCII in a path', { ...REQUEST, records: [{ path: '\u0141', size: 1, sha256: A }] }],
    ['a size that is no whole number', { ...REQUEST, records: [{ path: 'a', size: 1.5, sha256: A }] }],
    ['numbers that do not count', { ...REQUEST, signatures: REQUEST.signatures.slice(1) }],
  ] as const) {
    it(`cannot be written with ${what}`, () => {
      assert.throws(() => encodeSigningRequest(request), Malformed);
    });
  }
});

describe('every request', () => {
  const hex = (digits: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`));
  const path = fc
    .stringMatching(/^[A-Za-z0-9._+@:,=~]{1,12}(\/[a-z0-9]{1,8}){0,3}$/)
    .filter((text) => !/^\.{1,2}(\/|$)/.test(text));
  const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const second = fc.integer({ min: 0, max: 4_000_000_000 }).map((count) => count * 1000);
  const id = fc.constantFrom('', `-${ID}`, '-fedcba9876543210');
  const fields = {
    release: fc.constantFrom('arch/1', 'a-b/2026.11.01+x'),
    manifestSha256: hex(64),
    openpgp: fc.uniqueArray(
      fc.record({ key: fc.constantFrom('openpgp', 'openpgp-manifest'), fingerprint: hex(40) }),
      {
        selector: ({ key }) => key,
      },
    ),
  };
  const leafKind = fc.oneof(
    fc.record({ kind: fc.constant('rsa' as const), bits: size }),
    fc.record({ kind: fc.constant('p256' as const), bits: fc.constant(256) }),
  );
  const signed = fc.oneof(
    fc.record({
      key: fc.constant('openpgp'),
      algorithm: fc.constant('rsa-sha512' as const),
      digest: hex(128),
    }),
    fc.record({
      key: id.map((of) => `leaf${of}`),
      algorithm: fc.constantFrom('rsa-sha256' as const, 'p256-sha256' as const),
      digest: hex(64),
    }),
  );
  const request = fc.record({
    ...fields,
    certificates: fc.uniqueArray(fc.record({ key: id.map((of) => `ca${of}`), sha256: hex(64) }), {
      selector: ({ key }) => key,
    }),
    leaves: fc.uniqueArray(
      fc
        .tuple(id, leafKind, second, second)
        .map(([of, kind, notBefore, notAfter]) => ({ key: `leaf${of}`, ...kind, notBefore, notAfter })),
      { selector: ({ key }) => key },
    ),
    records: fc.uniqueArray(fc.record({ path, size, sha256: hex(64) }), {
      selector: (record) => record.path,
    }),
    kept: fc.uniqueArray(
      path.chain((name) => hex(64).map((sha256) => ({ path: `k/${name}`, sha256 }))),
      { selector: (seal) => seal.path },
    ),
    signatures: fc
      .uniqueArray(
        fc.record({
          path: path.map((name) => `s/${name}`),
          size,
          suffix: fc.constantFrom('.ipxe.sig', '.cms.sig'),
        }),
        { selector: (asked) => asked.path },
      )
      .chain((seals) =>
        fc
          .tuple(...seals.map(() => signed))
          .map((by) =>
            seals.map((seal, at) => ({ number: at + 1, ...seal, ...(by[at] as (typeof by)[number]) })),
          ),
      ),
    texts: fc.uniqueArray(
      fc.oneof(
        fc.record({
          key: fc.constantFrom('openpgp-script', 'openpgp-manifest'),
          algorithm: fc.constant('rsa-sha512' as const),
          suffix: fc.constant('.sig'),
          path: path.map((name) => `t/${name}`),
        }),
        fc.record({
          key: fc.oneof(
            fc.constant('manifest'),
            id.map((of) => `boot${of}`),
          ),
          algorithm: fc.constantFrom('rsa-sha256' as const, 'p256-sha256' as const),
          suffix: fc.constantFrom('.sig', '.cms.sig', '.gpg'),
          path: path.map((name) => `t/${name}`),
        }),
      ),
      { selector: (text) => text.path },
    ),
  });

  it('is read back as it was', () => {
    fc.assert(
      fc.property(request, (value) => {
        const kept = value.records.some((record) => /^[kst]\//.test(record.path));
        fc.pre(!kept);
        // fast-check's objects have no prototype.
        assert.deepEqual(decodeSigningRequest(encodeSigningRequest(value)), structuredClone(value));
      }),
    );
  });

  it('lines thrown together are refused, or written in no other way', () => {
    const line = fc.oneof(
      fc.constantFrom(...LINES),
      fc
        .tuple(
          fc.constantFrom('sign', 'kept', 'record', 'leaf', 'text'),
          fc.string({ unit: 'grapheme-ascii' }),
        )
        .map((words) => words.join(' ')),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (more) => {
        canonical(bytesOf([...LINES.slice(0, 9), ...more]));
      }),
    );
  });
});
