import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  type CpioEntry,
  cpioEntries,
  cpioPathTrick,
  decodeCpio,
  encodeCpio,
} from '../../../src/formats/archive/cpio.ts';

const SAMPLE = cpioEntries(
  [
    { kind: 'directory', name: 'etc' },
    { kind: 'file', name: 'etc/passwd', data: Buffer.from('root:x:0:0\n') },
    { kind: 'symlink', name: 'bin', target: 'usr/bin' },
    { kind: 'char', name: 'console', rdev: { major: 5, minor: 1 } },
  ],
  1_700_000_000,
);

const malformed = (fact: RegExp) => (error: unknown) =>
  error instanceof Malformed && fact.test(error.message);

/** The sample with one header field (0 = ino … 12 = check) of its first entry replaced. */
function withField(index: number, hex: string, entries = SAMPLE): Buffer {
  const bytes = Buffer.from(encodeCpio(entries));
  bytes.write(hex, 6 + index * 8, 'latin1');
  return bytes;
}

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const word = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 });
const text = word.filter((name) => !name.includes('\0') && Buffer.from(name).toString() === name);
const device = fc.tuple(u32, u32).map(([major, minor]) => ({ major, minor }));
const common = {
  mode: fc.integer({ min: 0, max: 0o7777 }),
  ino: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  mtime: u32,
  dev: device,
  rdev: device,
  name: text.filter((name) => name !== 'TRAILER!!!'),
};
const entry: fc.Arbitrary<CpioEntry> = fc.oneof(
  fc.record({ ...common, kind: fc.constant('file' as const), data: fc.uint8Array({ maxLength: 50 }) }),
  fc.record({
    ...common,
    kind: fc.constant('symlink' as const),
    data: text.map((target) => new Uint8Array(Buffer.from(target))),
  }),
  fc.record({
    ...common,
    kind: fc.constantFrom('directory', 'char', 'block', 'fifo', 'socket'),
    data: fc.constant(new Uint8Array(0)),
  }),
);

describe('newc cpio', () => {
  it('reads back what it writes, with and without checksums', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 6 }), fc.boolean(), (entries, checksummed) => {
        const decoded = decodeCpio(encodeCpio(entries, { checksummed }));
        const plain = decoded.map((one) => ({ ...one, data: Uint8Array.from(one.data) }));
        assert.deepEqual(
          plain,
          entries.map((one) => ({ ...one })),
        );
      }),
    );
  });

  it('never reads bytes as anything but entries or Malformed', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 255 }), (place, octet) => {
        const bytes = Buffer.from(encodeCpio(SAMPLE));
        bytes[place % bytes.length] = octet;
        try {
          decodeCpio(bytes);
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('refuses the sample cut at any length', () => {
    const bytes = encodeCpio(SAMPLE);
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeCpio(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('keeps data as views', () => {
    const bytes = encodeCpio(SAMPLE);
    for (const { data } of decodeCpio(bytes)) assert.equal(data.buffer, bytes.buffer);
  });

  it('is deterministic, and puts the data of hard links on the last name', () => {
    const sources = [
      { kind: 'file', name: 'a', data: Buffer.from('both') },
      { kind: 'link', name: 'b', to: 'a' },
      { kind: 'link', name: 'c', to: 'b' },
    ] as const;
    const decoded = decodeCpio(encodeCpio(cpioEntries(sources, 0)));
    assert.deepEqual(
      decoded.map(({ name, ino, nlink, data }) => [name, ino, nlink, Buffer.from(data).toString()]),
      [
        ['a', 1, 3, ''],
        ['b', 1, 3, ''],
        ['c', 1, 3, 'both'],
      ],
    );
    assert.deepEqual(encodeCpio(cpioEntries(sources, 0)), encodeCpio(cpioEntries(sources, 0)));
    assert.throws(() => cpioEntries([{ kind: 'link', name: 'b', to: 'a' }], 0), RangeError);
  });

  it('takes block filling, and nothing else, behind the trailer', () => {
    const bytes = encodeCpio(SAMPLE);
    assert.equal(decodeCpio(Buffer.concat([bytes, Buffer.alloc(512)])).length, SAMPLE.length);
    const junk = Buffer.concat([bytes, Buffer.from('\0\0junk')]);
    assert.throws(() => decodeCpio(junk), malformed(/after the trailer/));
    assert.throws(() => decodeCpio(Buffer.concat([bytes, bytes])), malformed(/after the trailer/));
  });

  it('takes a name that is filled up with NULs, but nothing hidden behind them', () => {
    const [plain] = cpioEntries([{ kind: 'file', name: 'abcde', data: Buffer.from('x') }], 0);
    assert.ok(plain);
    const filled = Buffer.from(encodeCpio([plain]));
    filled.fill(0, 112, 115);
    assert.equal(decodeCpio(filled)[0]?.name, 'ab');
    filled.write('z', 114);
    assert.throws(() => decodeCpio(filled), malformed(/hidden behind the name/));
  });

  it('checks the sum in a 070702 archive', () => {
    const bytes = Buffer.from(encodeCpio(SAMPLE, { checksummed: true }));
    assert.equal(decodeCpio(bytes).length, SAMPLE.length);
    bytes[bytes.indexOf('root:x')] = 0x52;
    assert.throws(() => decodeCpio(bytes), malformed(/etc\/passwd: checksum/));
  });

  it('refuses what the kernel would pass over in silence', () => {
    const bytes = Buffer.from(encodeCpio(SAMPLE));
    assert.throws(() => decodeCpio(withField(1, '0000F1ED')), malformed(/no such file type/));
    assert.throws(() => decodeCpio(withField(1, '000001ED')), malformed(/no file type/));
    assert.throws(() => decodeCpio(withField(6, '00000004')), malformed(/directory with data/));
    assert.throws(() => decodeCpio(withField(11, '00000000')), malformed(/name of 0 bytes/));
    assert.throws(() => decodeCpio(withField(11, '00001001')), malformed(/name of 4097 bytes/));
    assert.throws(() => decodeCpio(withField(12, '00000001')), malformed(/checksum in a 070701/));
    assert.throws(() => decodeCpio(withField(0, '0x000001')), malformed(/hexadecimal/));
    const old = Buffer.from(bytes);
    old.write('070707');
    assert.throws(() => decodeCpio(old), malformed(/old portable/));
    const padded = Buffer.from(bytes);
    padded[110 + 4] = 1;
    assert.throws(() => decodeCpio(padded), Malformed);
  });

  it('tells names apart that are no UTF-8, and writes them back', () => {
    const [plain] = cpioEntries([{ kind: 'file', name: 'ö/abc/ü', data: Buffer.from('x') }], 0);
    assert.ok(plain);
    const written = Buffer.from(encodeCpio([plain]));
    const names = [0xe9, 0xea, 0xc3].map((octet) => {
      const bytes = Buffer.from(written);
      bytes[bytes.indexOf('abc')] = octet;
      const entries = decodeCpio(bytes);
      assert.deepEqual(Buffer.from(encodeCpio(entries)), bytes);
      return entries[0]?.name;
    });
    assert.deepEqual(names, ['ö/\udce9bc/ü', 'ö/\udceabc/ü', 'ö/\udcc3bc/ü']);
  });

  it('writes no symlink target with a NUL, which would end there', () => {
    const sources = [{ kind: 'symlink', name: 's', target: 'a\0b' }] as const;
    assert.throws(() => encodeCpio(cpioEntries(sources, 0)), malformed(/NUL inside symlink target/));
  });

  it('is bounded', () => {
    const bytes = encodeCpio(SAMPLE);
    assert.throws(() => decodeCpio(bytes, { maxEntries: 3 }), malformed(/more than 3 entries/));
    assert.throws(() => decodeCpio(bytes, { maxBytes: 12 }), malformed(/more data than allowed/));
    assert.throws(() => decodeCpio(withField(6, 'FFFFFFFF', SAMPLE.slice(1))), malformed(/more data/));
    assert.equal(decodeCpio(bytes, { maxEntries: 4, maxBytes: 18 }).length, 4);
  });

  it('will not write what it would not read', () => {
    const [file] = cpioEntries([{ kind: 'file', name: 'a', data: Buffer.from('x') }], 0);
    assert.ok(file);
    assert.throws(() => encodeCpio([{ ...file, name: 'TRAILER!!!' }]), Malformed);
    assert.throws(() => encodeCpio([{ ...file, name: 'a\0b' }]), Malformed);
    assert.throws(() => encodeCpio([{ ...file, name: '' }]), Malformed);
    assert.throws(() => encodeCpio([{ ...file, kind: 'fifo' }]), Malformed);
    assert.throws(() => encodeCpio([{ ...file, kind: 'symlink', data: new Uint8Array(0) }]), Malformed);
    assert.throws(() => encodeCpio([{ ...file, mtime: 2 ** 32 }]), RangeError);
    assert.throws(() => encodeCpio([{ ...file, mode: 0o10000 }]), RangeError);
  });

  it('names path tricks', () => {
    assert.equal(cpioPathTrick('./etc/..passwd'), undefined);
    assert.equal(cpioPathTrick('/etc/passwd'), 'absolute');
    assert.equal(cpioPathTrick('a/../../etc'), 'dot-dot');
    assert.equal(cpioPathTrick('..'), 'dot-dot');
  });
});
