import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { authenticodeDigest } from '../../../src/formats/efi/authenticode.ts';
import { decodePe, peChecksum, peSection } from '../../../src/formats/efi/pe.ts';
import { addPeSections, peSignatures, withPeSignatures } from '../../../src/formats/efi/pe-write.ts';
import { AT, smallPe } from '../../fixtures/pe.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';

const DER = Buffer.from('3006020101020102', 'hex');

describe('PE images', () => {
  it('say where their sections are', () => {
    const image = decodePe(smallPe());
    assert.equal(image.machine, 0x8664);
    assert.equal(image.subsystem, 10);
    assert.deepEqual(
      image.sections.map(({ name, virtualAddress, virtualSize, rawOffset, rawSize }) => [
        name,
        ...[virtualAddress, virtualSize, rawOffset, rawSize],
      ]),
      [
        ['.text', 0x1000, 300, 0x400, 0x200],
        ['.data', 0x2000, 512, 0x600, 0x200],
      ],
    );
    assert.equal(image.endOfSections, 0x800);
    assert.equal(image.certificateTable, undefined);
    assert.equal(peSection(smallPe(), image, '.text')?.length, 300);
    assert.equal(peSection(smallPe(), image, '.none'), undefined);
  });

  it('looks at no section’s name, and shows each', () => {
    for (const [written, shown] of [
      ['/4', '/4'],
      ['/1234567', '/1234567'],
      ['', ''],
      ['.a\0hidden'.slice(0, 8), '.a'],
      ['\x1b[2J é\\', '\\x1b[2J\\x20\\xe9\\x5c'],
    ] as const) {
      const bytes = smallPe();
      bytes.fill(0, AT.sections + 40, AT.sections + 48);
      bytes.write(written, AT.sections + 40, 'latin1');
      assert.equal(decodePe(bytes).sections[1]?.name, shown);
    }
    // A stub reads a name as far as its NUL.
    const twice = smallPe();
    twice.write('.text\0x\0', AT.sections + 40, 'latin1');
    assert.throws(() => peSection(twice, decodePe(twice), '.text'), malformed(/two sections \.text/));
  });

  const second = AT.sections + 40;
  for (const [what, change, fact] of [
    ['no MZ', (b) => b.write('ZM', 0), /no MZ/],
    ['no PE signature', (b) => b.write('NE', AT.pe), /no PE signature/],
    ['a PE header inside the DOS header', (b) => b.writeUInt32LE(8, 0x3c), /inside the DOS header/],
    ['a PE header past the end', (b) => b.writeUInt32LE(0xffff_fff0, 0x3c), /ends in its headers/],
    ['PE32', (b) => b.writeUInt16LE(0x10b, AT.optional), /not PE32\+/],
    ['as many sections as a field can say', (b) => b.writeUInt16LE(0xffff, AT.coff + 2), /65535 sections/],
    ['no section', (b) => b.writeUInt16LE(0, AT.coff + 2), /0 sections/],
    ['2³² data directories', (b) => b.writeUInt32LE(0xffff_ffff, AT.directories), /4294967295 data dir/],
    ['too few data directories', (b) => b.writeUInt32LE(4, AT.directories), /4 data directories/],
    ['directories beyond their header', (b) => b.writeUInt16LE(120, AT.coff + 16), /another length than/],
    [
      'a header longer than its directories',
      (b) => b.writeUInt16LE(248, AT.coff + 16),
      /another length than/,
    ],
    ['a file alignment of 3', (b) => b.writeUInt32LE(3, AT.fileAlignment), /file alignment of 3/],
    ['a file alignment of 0', (b) => b.writeUInt32LE(0, AT.fileAlignment), /file alignment of 0/],
    ['an odd section alignment', (b) => b.writeUInt32LE(0x1001, AT.sectionAlignment), /alignment of 4097/],
    ['headers past the end', (b) => b.writeUInt32LE(0x10000, AT.sizeOfHeaders), /headers of 65536/],
    ['headers that end in the section table', (b) => b.writeUInt32LE(0x180, AT.sizeOfHeaders), /headers of/],
    ['sections that overlap in the file', (b) => b.writeUInt32LE(0x400, second + 20), /overlaps what is/],
    ['sections that overlap in memory', (b) => b.writeUInt32LE(0x1100, second + 12), /overlaps .* in memory/],
    [
      'a section without a size in memory over the next',
      (b) => {
        b.writeUInt32LE(0x1f00, AT.sections + 12);
        b.writeUInt32LE(0, AT.sections + 8);
      },
      /\.data overlaps .* in memory/,
    ],
    [
      'sections out of their order in memory',
      (b) => {
        b.writeUInt32LE(0x2000, AT.sections + 12);
        b.writeUInt32LE(0x1000, second + 12);
      },
      /overlaps .* in memory/,
    ],
    ['a section over the headers', (b) => b.writeUInt32LE(0x200, AT.sections + 12), /overlaps .* in memory/],
    ['a section past the end', (b) => b.writeUInt32LE(0xffff_fe00, second + 16), /\.data runs past the end/],
    ['a section past the image', (b) => b.writeUInt32LE(0xffff, second + 8), /end of the image/],
    ['a section that is not aligned', (b) => b.writeUInt32LE(0x601, second + 20), /not aligned/],
    ['a certificate table in a section', (b) => table(b, 0x600, 0x200), /inside a section/],
    ['a certificate table in the headers', (b) => table(b, 8, 8), /inside a section/],
    ['a certificate table past the end', (b) => table(b, 0x800, 8), /past the end/],
  ] as readonly [string, (bytes: Buffer) => void, RegExp][]) {
    it(`are refused with ${what}`, () => {
      assert.throws(() => decodePe(smallPe({ change })), malformed(fact));
    });
  }

  it('are refused with a gap between sections, which no two tools hash alike', () => {
    const bytes = Buffer.concat([smallPe(), Buffer.alloc(0x200)]);
    bytes.writeUInt32LE(0x800, second + 20);
    assert.throws(() => decodePe(bytes), malformed(/a gap before section \.data/));
  });

  it('are refused with a certificate table that ends between two multiples of eight', () => {
    const signed = Buffer.from(withPeSignatures(smallPe(), decodePe(smallPe()), [DER]));
    signed.writeUInt32LE(signed.readUInt32LE(AT.certificates + 4) - 1, AT.certificates + 4);
    assert.throws(() => decodePe(signed.subarray(0, -1)), malformed(/certificate table of \d+ bytes/));
  });

  it('are refused with bytes behind the certificate table', () => {
    const signed = withPeSignatures(smallPe(), decodePe(smallPe()), [DER]);
    decodePe(signed);
    const more = Buffer.concat([signed, Buffer.alloc(8)]);
    assert.throws(() => decodePe(more), malformed(/bytes behind the certificate table/));
  });

  it('give no other error than that they are malformed, whatever byte is changed', () => {
    const signed = withPeSignatures(smallPe(), decodePe(smallPe()), [DER]);
    const refused = demandFlipsHandled((bytes) => peSignatures(bytes, decodePe(bytes)), Buffer.from(signed));
    assert.ok(refused > 200, String(refused));
  });

  it('are refused cut anywhere in headers or sections', () => {
    const bytes = smallPe();
    for (let length = 0; length < bytes.length; length += 7)
      assert.throws(() => decodePe(bytes.subarray(0, length)), malformed(/./), `cut at ${length}`);
  });
});

describe('sections put behind those of a stub', () => {
  const added = () =>
    addPeSections(smallPe(), [
      { name: '.cmdline', data: Buffer.from('quiet') },
      { name: '.linux', data: Buffer.alloc(5000, 7) },
    ]);

  it('are laid out without gaps or overlaps, each at a page of its own', () => {
    const bytes = added();
    const image = decodePe(bytes);
    assert.deepEqual(
      image.sections.map(({ name, virtualAddress, virtualSize, rawOffset, rawSize }) => [
        name,
        ...[virtualAddress, virtualSize, rawOffset, rawSize],
      ]),
      [
        ['.text', 0x1000, 300, 0x400, 0x200],
        ['.data', 0x2000, 512, 0x600, 0x200],
        ['.cmdline', 0x3000, 5, 0x800, 0x200],
        ['.linux', 0x4000, 5000, 0xa00, 0x1400],
      ],
    );
    assert.equal(image.sizeOfImage, 0x6000);
    assert.equal(bytes.length, image.endOfSections);
    assert.equal(Buffer.from(peSection(bytes, image, '.cmdline') ?? []).toString(), 'quiet');
    assert.equal(Buffer.from(bytes).readUInt32LE(AT.checksum), peChecksum(bytes, image));
    assert.deepEqual(added(), bytes);
  });

  it('take the place of symbols that stood behind the last section', () => {
    const withSymbols = Buffer.concat([smallPe(), Buffer.alloc(18)]);
    withSymbols.writeUInt32LE(0x800, AT.coff + 8);
    withSymbols.writeUInt32LE(1, AT.coff + 12);
    const bytes = Buffer.from(addPeSections(withSymbols, [{ name: '.osrel', data: Buffer.from('ID=a\n') }]));
    assert.deepEqual([bytes.readUInt32LE(AT.coff + 8), bytes.readUInt32LE(AT.coff + 12)], [0, 0]);
    assert.equal(bytes.length, 0xa00);
  });

  for (const [what, make, fact] of [
    ['of a name it has', () => addPeSections(smallPe(), [{ name: '.text', data: DER }]), /second section/],
    [
      'of one name',
      () =>
        addPeSections(smallPe(), [
          { name: '.a', data: DER },
          { name: '.a', data: DER },
        ]),
      /second section/,
    ],
    ['without bytes', () => addPeSections(smallPe(), [{ name: '.a', data: Buffer.alloc(0) }]), /empty/],
    ['with a long name', () => addPeSections(smallPe(), [{ name: '.toolongname', data: DER }]), /called/],
    [
      'without room',
      () =>
        addPeSections(
          smallPe({ headers: 0x200 }),
          [...'abc'].map((name) => ({ name: `.${name}`, data: DER })),
        ),
      /no room/,
    ],
    [
      'when it is signed',
      () => addPeSections(withPeSignatures(smallPe(), decodePe(smallPe()), [DER]), []),
      /signed/,
    ],
  ] as readonly [string, () => unknown, RegExp][]) {
    it(`are refused ${what}`, () => {
      assert.throws(make, malformed(fact));
    });
  }
});

describe('the certificate table', () => {
  it('takes several signatures and gives them back, without changing the digest', () => {
    const bytes = smallPe();
    const before = decodePe(bytes);
    const other = Buffer.from('30050403616263', 'hex');
    const signed = withPeSignatures(bytes, before, [DER, other]);
    const image = decodePe(signed);
    assert.deepEqual(peSignatures(signed, image), [DER, other]);
    assert.deepEqual(
      authenticodeDigest(signed, image, 'sha256'),
      authenticodeDigest(bytes, before, 'sha256'),
    );
    assert.deepEqual(withPeSignatures(signed, image, []), withPeSignatures(bytes, before, []));
  });

  it('does not change the digest of an image whose length is no multiple of eight', () => {
    const bytes = Buffer.concat([smallPe(), Buffer.from('abc')]);
    const before = decodePe(bytes);
    const signed = withPeSignatures(bytes, before, [DER]);
    assert.deepEqual(
      authenticodeDigest(signed, decodePe(signed), 'sha256'),
      authenticodeDigest(bytes, before, 'sha256'),
    );
  });

  for (const [what, change, fact] of [
    ['runs past the table', (b) => b.writeUInt32LE(0x1000, 0x800), /certificate of 4096/],
    ['has no bytes', (b) => b.writeUInt32LE(8, 0x800), /certificate of 8/],
    ['is of another revision', (b) => b.writeUInt16LE(0x100, 0x804), /unknown type/],
    ['is of another type', (b) => b.writeUInt16LE(0x0ef1, 0x806), /unknown type/],
    ['is no DER', (b) => b.writeUInt8(0x31, 0x808), /no DER/],
    ['is longer than it says', (b) => b.writeUInt8(0x7f, 0x809), /not one DER element/],
    ['hides something behind its end', (b) => b.writeUInt8(2, 0x809), /not one DER element/],
  ] as readonly [string, (bytes: Buffer) => void, RegExp][]) {
    it(`is refused where a certificate ${what}`, () => {
      const signed = Buffer.from(withPeSignatures(smallPe(), decodePe(smallPe()), [DER]));
      change(signed);
      assert.throws(() => peSignatures(signed, decodePe(signed)), malformed(fact));
    });
  }
});

function table(bytes: Buffer, offset: number, size: number): void {
  bytes.writeUInt32LE(offset, AT.certificates);
  bytes.writeUInt32LE(size, AT.certificates + 4);
}
