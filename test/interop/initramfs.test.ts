import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { constants, crc32, createDeflateRaw, type DeflateRaw } from 'node:zlib';
import { readInitramfs } from '../../src/emulator/initramfs.ts';
import type { InitramfsTree } from '../../src/emulator/initramfs-tree.ts';
import { Malformed } from '../../src/errors/malformed.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { cpioEntries, decodeCpio, encodeCpio } from '../../src/formats/archive/cpio.ts';
import { type Compression, openStream } from '../../src/formats/archive/decompress.ts';

const folder = mkdtempSync(join(tmpdir(), 'bootseal-initramfs-'));
const tree = join(folder, 'tree');
const NAMES = ['./etc/passwd', './etc/große.txt', './bin/tool', './bin/other', './large', './empty'];

function run(command: string, args: string[], input: Uint8Array | string): Buffer {
  return execFileSync(command, args, {
    input,
    cwd: tree,
    maxBuffer: 256 * 2 ** 20,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

/** The tree as the real cpio packs it. */
function pack(format = 'newc'): Buffer {
  return run('cpio', ['-o', '-H', format], run('find', ['.'], ''));
}

function demandTree(unpacked: InitramfsTree): void {
  for (const name of NAMES) assert.ok(readFileSync(join(tree, name)).equals(unpacked.read(name)), name);
  assert.deepEqual(unpacked.list('/'), ['bin', 'dev', 'empty', 'etc', 'large', 'root', 'sbin']);
  assert.equal(unpacked.readlink('sbin'), 'bin');
  assert.equal(unpacked.stat('sbin/tool')?.mode, 0o755);
}

const keep = (): boolean => true;

before(() => {
  mkdirSync(join(tree, 'etc'), { recursive: true });
  mkdirSync(join(tree, 'bin'));
  writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0\n');
  writeFileSync(join(tree, 'etc/große.txt'), 'umlaut');
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, 'bin/tool'), readFileSync(process.execPath).subarray(0, 600_001), {
    mode: 0o755,
  });
  linkSync(join(tree, 'bin/tool'), join(tree, 'bin/other'));
  symlinkSync('bin', join(tree, 'sbin'));
  const words = Array.from({ length: 60_000 }, (_, index) => (index * 7919) % 65_537);
  writeFileSync(join(tree, 'large'), words.join(' '));
});
after(() => rmSync(folder, { recursive: true, force: true }));

describe('initramfs and the tools that make it', () => {
  it('reads what cpio writes, in both formats', async () => {
    for (const format of ['newc', 'crc']) {
      const bytes = pack(format);
      demandTree(await readInitramfs([bytes], { keep }));
      const entries = decodeCpio(bytes);
      assert.equal(entries.find(({ name }) => name === 'etc/passwd')?.data.length, 11);
      const links = entries.filter(({ nlink, kind }) => nlink === 2 && kind === 'file');
      assert.deepEqual(
        links.map(({ data }) => data.length),
        [0, 600_001],
      );
    }
  });

  it('reads what bsdtar and bsdcpio write, and loses the hard links that mkinitcpio’s pipeline loses', async () => {
    demandTree(await readInitramfs([run('bsdcpio', ['-o', '-H', 'newc'], run('find', ['.'], ''))], { keep }));
    const pipeline = [
      "find . -mindepth 1 -printf '%P\\0' | sort -z",
      'bsdtar --null -cnf - -T -',
      'bsdtar --null -cf - --format=newc @-',
    ].join(' | ');
    const unpacked = await readInitramfs([run('sh', ['-c', `export LC_ALL=C.UTF-8; ${pipeline}`], '')], {
      keep,
    });
    for (const name of ['./etc/passwd', './bin/other', './etc/große.txt']) {
      assert.ok(readFileSync(join(tree, name)).equals(unpacked.read(name)), name);
    }
    assert.equal(unpacked.exists('bin/tool'), false);
    assert.deepEqual(unpacked.remarks, ['"bin/tool": dropped, it has no file type']);
  });

  const SMALL = 'for the wire';
  for (const [unpacker, args] of [
    ['cpio', ['-i', '-d']],
    ['busybox', ['cpio', '-i', '-d']],
  ] as const) {
    for (const checksummed of [false, true]) {
      if (checksummed && unpacker === 'busybox') continue;
      it(`writes what ${unpacker} unpacks${checksummed ? ', with checksums' : ''}`, () => {
        const out = join(folder, `out-${unpacker}-${checksummed}`);
        mkdirSync(out);
        const entries = cpioEntries(
          [
            { kind: 'directory', name: 'gpg', mode: 0o700 },
            { kind: 'file', name: 'gpg/key', data: Buffer.from(SMALL), mode: 0o600 },
            { kind: 'link', name: 'gpg/same', to: 'gpg/key' },
            { kind: 'symlink', name: 'link', target: 'gpg/key' },
          ],
          1_700_000_000,
        );
        const input = encodeCpio(entries, { checksummed });
        execFileSync(unpacker, [...args], { cwd: out, input, stdio: ['pipe', 'ignore', 'pipe'] });
        assert.equal(readFileSync(join(out, 'gpg/same'), 'utf8'), SMALL);
        assert.equal(statSync(join(out, 'gpg/key')).ino, statSync(join(out, 'gpg/same')).ino);
        assert.equal(statSync(join(out, 'gpg')).mode & 0o7777, 0o700);
        assert.equal(readlinkSync(join(out, 'link')), 'gpg/key');
      });
    }
  }

  for (const [command, ...args] of [
    ['gzip', '-c'],
    ['gzip', '-9', '-n', '-c'],
    ['xz', '-9', '--check=crc32'],
    ['xz', '--check=none'],
    ['xz', '--check=crc32', '--lzma2=dict=512KiB'],
    ['xz', '--check=crc32', '-T2', '--block-size=1MiB'],
    ['zstd', '-1', '-q'],
    ['zstd', '-19', '-q'],
    ['zstd', '-q', '--ultra', '-22', '--long=27'],
    ['lz4', '-l', '-q', '-c'],
    ['lz4', '-l', '-q', '-9', '-c'],
    ['lzma', '-c'],
    ['lzma', '-9', '-c'],
    ['bzip2', '-c'],
    ['bzip2', '-1', '-c'],
    ['lzop', '-c'],
    ['lzop', '-9', '-c'],
    ['lzop', '--crc32', '-c'],
  ] as const) {
    it(`unpacks what ${command} ${args.join(' ')} makes, and finds where it ends`, async () => {
      const stream = run(command, [...args], pack());
      const overlay = encodeCpio(cpioEntries([{ kind: 'file', name: 'empty', data: Buffer.from('!') }], 0));
      const microcode = encodeCpio(cpioEntries([{ kind: 'directory', name: 'kernel' }], 0));
      const padding = Buffer.alloc(8 - (stream.length % 4));
      const image = Buffer.concat([microcode, stream, padding, overlay]);
      const unpacked = await readInitramfs([image], { keep });
      assert.deepEqual(unpacked.list('/'), ['bin', 'dev', 'empty', 'etc', 'kernel', 'large', 'root', 'sbin']);
      assert.equal(Buffer.from(unpacked.read('empty')).toString(), '!');
      assert.equal(unpacked.archives[2]?.offset, microcode.length + stream.length + padding.length);
      demandTree(await readInitramfs([stream], { keep }));
      // The same twice in a row, nothing between them.
      demandTree(await readInitramfs([Buffer.concat([stream, stream])], { keep }));
    });
  }

  it('refuses xz with a check that no stock kernel is built for', async () => {
    for (const check of ['crc64', 'sha256']) {
      const stream = run('xz', [`--check=${check}`], pack());
      await assert.rejects(readInitramfs([encodeCpio([]), stream]), {
        code: 'malformed',
        message: /byte 0 of initrd 2 .*xz: (CRC64|SHA-256), which no stock kernel unpacks.*--check=crc32/,
      });
    }
  });

  it('finds the end of an xz stream around a stored xz file', async () => {
    // Incompressible content stays as it is, footer and all, in the outer stream; some footers stand aligned.
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
    const stored = run('xz', ['--check=crc32', '-c'], 'a stored file');
    const data = Buffer.concat(
      Array.from({ length: 60 }, () => [cipher.update(Buffer.alloc(19_999)), stored]).flat(),
    );
    const outer = run(
      'xz',
      ['--check=crc32', '-c'],
      encodeCpio(cpioEntries([{ kind: 'file', name: 'f', data }], 0)),
    );
    const aligned: number[] = [];
    for (let at = outer.indexOf(stored); at >= 0; at = outer.indexOf(stored, at + 1)) {
      if (at % 4 === 0) aligned.push(at);
    }
    assert.notEqual(aligned.length, 0);
    const unpacked = await readInitramfs([Buffer.concat([outer, Buffer.alloc(4), outer])], { keep });
    assert.ok(data.equals(unpacked.read('f')));
    assert.equal(unpacked.archives[1]?.offset, outer.length + 4);
  });

  it('does not look for the end of an xz stream for ever', async () => {
    // A hundred thousand footers, each with all before it as index.
    const image = Buffer.alloc(1_600_000);
    run('xz', ['--check=crc32', '-c'], '').copy(image, 0, 0, 12);
    for (let at = 1600; at < image.length; at += 16) {
      const tail = Buffer.concat([u32(Math.floor((at - 30) / 4) - 1), Buffer.from([0, 1])]);
      Buffer.concat([u32(crc32(tail)), tail, Buffer.from('YZ')]).copy(image, at - 12);
    }
    await assert.rejects(readInitramfs([image]), { code: 'malformed', message: /too many ends/ });
  });

  it('refuses xz with filters by name', async () => {
    for (const filter of ['--x86', '--delta=dist=4']) {
      const stream = run('xz', ['--check=crc32', filter, '--lzma2', '-c'], pack());
      await assert.rejects(readInitramfs([stream]), {
        code: 'malformed',
        message: /xz: a filter or an option/,
      });
    }
  });

  it('refuses what it cannot decode, by name', async () => {
    for (const [name, command, ...args] of [['lz4 frames', 'lz4', '-c']] as const) {
      const image = run(command, [...args], pack());
      await assert.rejects(readInitramfs([image]), { message: new RegExp(`cannot decode ${name}`) });
    }
  });

  for (const [command, ...args] of [
    ['gzip', '-c'],
    ['xz', '--check=crc32'],
    ['zstd', '-q'],
    ['bzip2', '-c'],
    ['lzop', '-c'],
  ] as const) {
    it(`takes ${command} ${args.join(' ')} neither cut short nor with changed content`, async () => {
      const content = 'abcdefgh'.repeat(9);
      const entries = cpioEntries([{ kind: 'file', name: 'a', data: Buffer.from(content) }], 0);
      const stream = run(command, [...args], encodeCpio(entries));
      const malformed = { name: 'Refusal', code: 'malformed' };
      for (let length = 1; length < stream.length; length++) {
        await assert.rejects(readInitramfs([stream.subarray(0, length)]), malformed, `cut at ${length}`);
      }
      let refused = 0;
      for (let at = 0; at < stream.length; at++) {
        const changed = Buffer.from(stream);
        changed[at] = (changed[at] ?? 0) ^ 0x10;
        // Some bytes carry nothing: gzip's time, a larger window, the first of a range coder.
        try {
          assert.equal(Buffer.from((await readInitramfs([changed])).read('a')).toString(), content);
        } catch (error) {
          assert.ok(error instanceof Refusal, `byte ${at}: ${String(error)}`);
          refused++;
        }
      }
      assert.ok(refused > stream.length - 10, `only ${refused} of ${stream.length} refused`);
    });
  }
});

const GIB = 2 ** 30;
const CHUNK = 16 * 2 ** 20;
/** A small archive; the zeros of a bomb then count as padding behind it. */
const SEED = encodeCpio(cpioEntries([{ kind: 'file', name: 'a', data: Buffer.from('x') }], 0));

function deflate(engine: DeflateRaw, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    const collect = (piece: Buffer): number => pieces.push(piece);
    engine.on('data', collect);
    engine.write(bytes);
    engine.flush(constants.Z_FULL_FLUSH, () => {
      engine.off('data', collect);
      resolve(Buffer.concat(pieces));
    });
  });
}

function u32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32LE(value);
  return octets;
}

/** 10 GiB of zeros behind the seed. Chunks repeat, so nobody has to compress them. */
const BOMBS: Readonly<Record<Compression, () => Promise<Buffer>>> = {
  gzip: async () => {
    const engine = createDeflateRaw();
    const seed = await deflate(engine, SEED);
    const zeros = await deflate(engine, Buffer.alloc(CHUNK));
    engine.destroy();
    const repeated = Array<Buffer>((10 * GIB) / CHUNK).fill(zeros);
    return Buffer.concat([Buffer.from('1f8b0800000000000003', 'hex'), seed, ...repeated]);
  },
  xz: () => {
    const donate = (bytes: Uint8Array): { block: Buffer; record: Buffer } => {
      const stream = run('xz', ['--check=crc32', '-c'], bytes);
      const index = stream.length - 12 - (stream.readUInt32LE(stream.length - 8) + 1) * 4;
      const numbers =
        /^(?:[\x80-\xff]*[^\x80-\xff]){2}/.exec(stream.toString('latin1', index + 2))?.[0] ?? '';
      return { block: stream.subarray(12, index), record: Buffer.from(numbers, 'latin1') };
    };
    const empty = run('xz', ['--check=crc32', '-c'], '');
    const blocks = [donate(SEED), ...Array(639).fill(donate(Buffer.alloc(CHUNK)))];
    // 640 records as a variable-length integer.
    const listed = Buffer.concat([Buffer.from([0, 0x80, 0x05]), ...blocks.map(({ record }) => record)]);
    const body = Buffer.concat([listed, Buffer.alloc(-listed.length & 3)]);
    const tail = Buffer.concat([u32(body.length / 4), empty.subarray(6, 8)]);
    const footer = Buffer.concat([u32(crc32(tail)), tail, Buffer.from('YZ')]);
    const parts = [
      empty.subarray(0, 12),
      ...blocks.map(({ block }) => block),
      body,
      u32(crc32(body)),
      footer,
    ];
    return Promise.resolve(Buffer.concat(parts));
  },
  zstd: () => {
    const word = (type: number, size: number): Buffer => {
      const header = Buffer.alloc(3);
      header.writeUIntLE((type << 1) | (size << 3), 0, 3);
      return header;
    };
    const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]);
    const zeros = Buffer.concat([word(1, 128 * 1024), Buffer.alloc(1)]);
    const repeated = Array<Buffer>((10 * GIB) / (128 * 1024)).fill(zeros);
    return Promise.resolve(Buffer.concat([magic, word(0, SEED.length), SEED, ...repeated]));
  },
  lz4: () => {
    const zeros = run('lz4', ['-l', '-q', '-c'], Buffer.alloc(CHUNK));
    return Promise.resolve(
      Buffer.concat([run('lz4', ['-l', '-q', '-c'], SEED), ...Array((10 * GIB) / CHUNK).fill(zeros)]),
    );
  },
  // One stream each, which somebody must make: as much as shows the cap.
  bzip2: () => Promise.resolve(run('sh', ['-c', '{ cat; head -c 400M /dev/zero; } | bzip2 -c'], SEED)),
  lzma: () => Promise.resolve(run('sh', ['-c', '{ cat; head -c 400M /dev/zero; } | lzma -0 -c'], SEED)),
  lzo: () => Promise.resolve(run('sh', ['-c', '{ cat; head -c 400M /dev/zero; } | lzop -c'], SEED)),
};

describe('decompression bombs', () => {
  const CAP = GIB / 4;
  for (const [compression, make] of Object.entries(BOMBS)) {
    it(`stops ${compression} at the cap, in bounded memory`, async () => {
      const bomb = await make();
      const before = process.resourceUsage().maxRSS;
      await assert.rejects(readInitramfs([bomb], { maxBytes: CAP }), { name: 'Refusal', code: 'too-large' });
      const grown = (process.resourceUsage().maxRSS - before) * 1024;
      assert.ok(grown < CAP / 2, `memory grew by ${grown} bytes`);
    });
  }

  it('lets an abandoned stream go, and decodes the next', async () => {
    const bomb = await BOMBS.xz();
    for (let round = 0; round < 3; round++) {
      for await (const _piece of openStream('xz', bomb, 0).content) break;
    }
    const stream = openStream('xz', run('xz', ['--check=crc32', '-c'], 'content'), 0);
    assert.throws(() => stream.end(), /has not ended/);
    const pieces: Uint8Array[] = [];
    for await (const piece of stream.content) pieces.push(piece);
    assert.equal(Buffer.concat(pieces).toString(), 'content');
    await assert.rejects(async () => {
      for await (const _piece of openStream('xz', Buffer.from('fd377a585a00000000000000', 'hex'), 0).content);
    }, Malformed);
  });
});
