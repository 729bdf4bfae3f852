import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { type InitramfsLimits, readInitramfs } from '../../src/emulator/initramfs.ts';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { type CpioEntry, type CpioSource, cpioEntries, encodeCpio } from '../../src/formats/archive/cpio.ts';

const file = (name: string, content: string): CpioSource => ({
  kind: 'file',
  name,
  data: Buffer.from(content),
});
const dir = (name: string): CpioSource => ({ kind: 'directory', name });
const symlink = (name: string, target: string): CpioSource => ({ kind: 'symlink', name, target });
const archive = (...sources: CpioSource[]): Uint8Array => encodeCpio(cpioEntries(sources, 0));
const TRAILER_OCTETS = encodeCpio([]).length;
/** The archive up to its trailer. */
const headless = (...sources: CpioSource[]): Uint8Array => archive(...sources).subarray(0, -TRAILER_OCTETS);

async function refuses(
  code: RefusalCode,
  message: RegExp,
  parts: Uint8Array[],
  limits?: InitramfsLimits,
): Promise<void> {
  await assert.rejects(readInitramfs(parts, limits), (error) => {
    assert.ok(error instanceof Refusal, String((error as Error).stack));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

async function text(parts: Uint8Array[], path: string): Promise<string> {
  return Buffer.from((await readInitramfs(parts)).read(path)).toString();
}

/** What a kernel has before it unpacks anything. */
const BUILT_IN = ['dev', 'root'];

describe('initramfs', () => {
  it('reads files, directories and facts', async () => {
    const tree = await readInitramfs([
      archive(dir('etc'), file('etc/a', 'one'), file('etc/B', 'two'), dir('etc/c')),
    ]);
    assert.equal(Buffer.from(tree.read('/etc/a')).toString(), 'one');
    assert.equal(Buffer.from(tree.read('./etc//a')).toString(), 'one');
    assert.deepEqual(tree.list('etc'), ['B', 'a', 'c']);
    assert.deepEqual(tree.list('/'), ['dev', 'etc', 'root']);
    assert.equal(tree.exists('etc/x'), false);
    assert.equal(tree.stat('etc/a')?.mode, 0o644);
    assert.equal(tree.stat('etc')?.kind, 'directory');
    assert.equal(tree.stat('etc/a/b'), undefined);
    assert.equal(tree.stat('etc/a/'), undefined);
    assert.throws(() => tree.read('etc/x'), { code: 'absent' });
    assert.throws(() => tree.read('etc'), { code: 'malformed' });
    assert.throws(() => tree.list('etc/a'), { code: 'absent' });
    assert.deepEqual(tree.remarks, []);
  });

  it('keeps a plain archive as views', async () => {
    const bytes = archive(file('a', 'content'));
    const tree = await readInitramfs([bytes]);
    assert.equal(tree.read('a').buffer, bytes.buffer);
  });

  it('unpacks microcode, zeros, and a compressed archive behind them', async () => {
    const microcode = archive(dir('kernel'), file('kernel/x', 'microcode'));
    const image = Buffer.concat([
      microcode,
      Buffer.alloc(512 - (microcode.length % 512)),
      gzipSync(archive(file('init', 'main'))),
      Buffer.alloc(9),
      gzipSync(archive(file('late', 'third'))),
    ]);
    const tree = await readInitramfs([image, archive(file('overlay', 'fourth'))], {
      names: ['main', 'overlay'],
    });
    assert.deepEqual(tree.list('/'), ['dev', 'init', 'kernel', 'late', 'overlay', 'root']);
    assert.deepEqual(
      tree.archives.map(({ initrd, compression }) => [initrd, compression]),
      [
        ['main', 'none'],
        ['main', 'gzip'],
        ['main', 'gzip'],
        ['overlay', 'none'],
      ],
    );
    assert.equal(tree.archives[1]?.offset, Math.ceil(microcode.length / 512) * 512);
  });

  it('needs no trailer, and reads on behind one', async () => {
    const plain = Buffer.concat([
      headless(file('a', '1')),
      archive(file('b', '2')),
      headless(file('c', '3')),
    ]);
    assert.deepEqual((await readInitramfs([plain])).list('/'), ['a', 'b', 'c', ...BUILT_IN]);
    assert.deepEqual((await readInitramfs([gzipSync(plain)])).list('/'), ['a', 'b', 'c', ...BUILT_IN]);
  });

  it('lets later entries override earlier ones', async () => {
    const first = archive(dir('gpg'), file('gpg/key', 'old'), file('x', 'was a file'));
    const second = archive(file('gpg/key', 'new'), dir('x'), file('x/y', 'now a directory'));
    assert.equal(await text([first, second], 'gpg/key'), 'new');
    assert.equal(await text([first, second], 'x/y'), 'now a directory');
    assert.equal(await text([second, first].slice(1).concat(second, first), 'gpg/key'), 'old');
  });

  it('drops what would replace a directory that is not empty, and says so', async () => {
    const tree = await readInitramfs([
      archive(dir('d'), file('d/f', '1'), file('d', '2'), symlink('d', 'f')),
    ]);
    assert.equal(tree.stat('d')?.kind, 'directory');
    assert.equal(Buffer.from(tree.read('d/f')).toString(), '1');
    assert.equal(tree.remarks.length, 2);
    const empty = await readInitramfs([archive(dir('d'), file('d', '2'))]);
    assert.equal(empty.stat('d')?.kind, 'file');
  });

  it('drops what has no directory to go to, and says so', async () => {
    const tree = await readInitramfs([archive(file('etc/passwd', 'x'), file('a', '1'), file('a/b', '2'))]);
    assert.deepEqual(tree.list('/'), ['a', ...BUILT_IN]);
    assert.match(tree.remarks.join('\n'), /"etc\/passwd": dropped, no directory.*\n"a\/b": dropped/);
  });

  it('follows symlinks inside, in names too, and gives up on loops', async () => {
    const tree = await readInitramfs([
      archive(
        dir('usr'),
        dir('usr/bin'),
        symlink('bin', 'usr/bin'),
        file('bin/sh', 'shell'),
        symlink('usr/bin/ash', '../../bin/./sh'),
        symlink('abs', '/usr/bin/ash'),
        symlink('out', '../../../../usr/bin/sh'),
        symlink('loop', 'pool'),
        symlink('pool', 'loop'),
        symlink('self', 'self/self/self'),
        symlink('dangling', 'nowhere'),
      ),
    ]);
    for (const path of ['usr/bin/sh', 'bin/ash', 'abs', 'out', '/../../bin/sh']) {
      assert.equal(Buffer.from(tree.read(path)).toString(), 'shell', path);
    }
    for (const path of ['loop', 'self', 'dangling']) assert.equal(tree.exists(path), false, path);
    assert.equal(tree.readlink('abs'), '/usr/bin/ash');
    assert.equal(tree.readlink('usr'), undefined);
  });

  it('follows forty symlinks, as the kernel does, and no more', async () => {
    const chain = Array.from({ length: 41 }, (_, index) =>
      symlink(`s${index}`, index ? `s${index - 1}` : 'end'),
    );
    const tree = await readInitramfs([archive(file('end', 'x'), ...chain)]);
    assert.equal(tree.exists('s39'), true);
    assert.equal(tree.exists('s40'), false);
  });

  it('takes odd names as the kernel does, and reports them', async () => {
    const tree = await readInitramfs([
      archive(dir('.'), dir('./etc'), file('/etc/a', '1'), file('etc/../../../etc/b', '2'), file('.', '3')),
    ]);
    assert.deepEqual(tree.list('etc'), ['a', 'b']);
    assert.deepEqual(tree.remarks, [
      '"/etc/a": absolute name',
      '"etc/../../../etc/b": dot-dot name',
      '".": dropped, it names a directory itself',
    ]);
  });

  it('replaces a symlink, never what it points to', async () => {
    const tree = await readInitramfs([archive(file('real', 'kept'), symlink('s', 'real'), file('s', 'new'))]);
    assert.equal(Buffer.from(tree.read('real')).toString(), 'kept');
    assert.equal(Buffer.from(tree.read('s')).toString(), 'new');
  });

  it('gives all names of a hard link one content, until a trailer', async () => {
    const linked: CpioSource[] = [file('a', 'both'), { kind: 'link', name: 'b', to: 'a' }];
    const others: CpioSource[] = [file('c', 'other'), { kind: 'link', name: 'd', to: 'c' }];
    // Both archives number their files from 1.
    const tree = await readInitramfs([archive(...linked), archive(...others)]);
    const contents = ['a', 'b', 'c', 'd'].map((name) => Buffer.from(tree.read(name)).toString());
    assert.deepEqual(contents, ['both', 'both', 'other', 'other']);
    const overwritten = await readInitramfs([archive(...linked), archive(file('b', 'changed'))]);
    assert.equal(Buffer.from(overwritten.read('a')).toString(), 'changed');
    // Wanted under its first name, which carries no data.
    const kept = await readInitramfs([archive(...linked)], { keep: (path) => path === 'a' });
    assert.equal(Buffer.from(kept.read('a')).toString(), 'both');
  });

  it('keeps only what is wanted', async () => {
    const asked: string[] = [];
    const parts = [
      archive(dir('usr'), symlink('lib', 'usr'), file('lib/big', 'x'.repeat(500)), file('small', 'y')),
    ];
    const tree = await readInitramfs(parts, {
      keep: (path, size) => {
        asked.push(`${path} ${size}`);
        return size < 100;
      },
    });
    assert.deepEqual(asked, ['usr/big 500', 'small 1']);
    assert.throws(() => tree.read('lib/big'), { code: 'too-large' });
    assert.deepEqual([tree.stat('lib/big')?.size, tree.stat('lib/big')?.kept], [500, false]);
    const large = archive(file('m', 'x'.repeat(2 ** 20)), file('n', 'x'.repeat(2 ** 20 + 1)));
    const byDefault = await readInitramfs([large]);
    assert.equal(byDefault.read('m').length, 2 ** 20);
    assert.throws(() => byDefault.read('n'), { code: 'too-large' });
  });

  it('refuses an archive that begins unaligned, naming it', async () => {
    const odd = Buffer.concat([archive(file('a', '1')), Buffer.alloc(2), archive(file('b', '2'))]);
    await refuses('malformed', /byte 0 of initrd 1 .*unaligned/, [odd]);
    const first = Buffer.concat([Buffer.alloc(3), archive(file('a', '1'))]);
    await refuses('malformed', /byte 3 of overlay .*unaligned/, [first], { names: ['overlay'] });
    const stream = gzipSync(archive(file('a', '1')));
    const filled = Buffer.alloc(4 - (stream.length % 4) + 1);
    const behind = Buffer.concat([stream, filled, archive(file('b', '2'))]);
    await refuses('malformed', /unaligned/, [behind]);
    const inside = gzipSync(odd);
    await refuses('malformed', /unaligned/, [inside]);
    const compressed = Buffer.concat([
      archive(file('a', '1')),
      Buffer.alloc(1),
      gzipSync(archive(file('b', '2'))),
    ]);
    await refuses('malformed', /unaligned/, [compressed]);
  });

  it('refuses junk wherever it stands', async () => {
    const good = archive(file('a', '1'));
    await refuses('malformed', /neither a cpio archive nor a known compression/, [Buffer.from('junk')]);
    await refuses('malformed', /neither a cpio/, [Buffer.concat([good, Buffer.from('junk')])]);
    await refuses('malformed', /neither a cpio/, [Buffer.concat([gzipSync(good), Buffer.from('junk')])]);
    await refuses('malformed', /junk in a compressed archive/, [
      gzipSync(Buffer.concat([good, Buffer.from('junk')])),
    ]);
    await refuses('malformed', /no cpio magic/, [gzipSync(Buffer.alloc(200))]);
    await refuses('malformed', /no cpio magic/, [Buffer.concat([good, Buffer.from('0junk'.repeat(50))])]);
    await refuses('malformed', /mid-entry/, [gzipSync(Buffer.alloc(0))]);
    await refuses('malformed', /initrd 2 holds no archive/, [good, Buffer.alloc(16)]);
    await refuses('malformed', /initrd 1 holds no archive/, [Buffer.alloc(0)]);
  });

  it('refuses by name what it cannot decode', async () => {
    for (const [name, magic] of [
      ['lz4 frames', '04224d18'],
      ['skippable zstd frames', '5e2a4d18'],
    ] as const) {
      await refuses('malformed', new RegExp(`cannot decode ${name}`), [
        Buffer.from(magic.padEnd(64, '0'), 'hex'),
      ]);
    }
  });

  it('refuses an initrd cut at any length where an entry is open', async () => {
    const sources = [dir('d'), file('d/f', 'content'), symlink('s', 'd/f')];
    const bytes = archive(...sources);
    // The kernel needs no trailer, so between entries an archive may end.
    const ends = new Set([
      ...[1, 2, 3].map((count) => headless(...sources.slice(0, count)).length),
      bytes.length,
    ]);
    for (let length = 1; length < bytes.length; length++) {
      if (ends.has(length)) continue;
      await refuses('malformed', /mid-entry/, [bytes.subarray(0, length)]);
    }
    const stream = gzipSync(bytes);
    for (let length = 1; length < stream.length; length++) {
      await refuses('malformed', /./, [stream.subarray(0, length)]);
    }
  });

  it('checks gzip to its last byte', async () => {
    const stream = gzipSync(archive(file('a', '1')));
    for (const at of [stream.length - 1, stream.length - 8]) {
      const changed = Buffer.from(stream);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await refuses('malformed', /gzip: (CRC|size) does not match/, [changed]);
    }
    const commented = Buffer.concat([stream.subarray(0, 10), Buffer.from('c\0'), stream.subarray(10)]);
    commented[3] = 0x10;
    await refuses('malformed', /header fields/, [commented]);
  });

  it('checks the sums of a 070702 archive, kept or not', async () => {
    const bytes = Buffer.from(encodeCpio(cpioEntries([file('a', 'content')], 0), { checksummed: true }));
    assert.equal(await text([bytes], 'a'), 'content');
    bytes[bytes.indexOf('content')] = 0x43;
    await refuses('malformed', /a: checksum/, [bytes], { keep: () => false });
  });

  it('is bounded in entries and bytes', async () => {
    const bytes = archive(file('a', '1'), file('b', '2'), file('c', '3'));
    await refuses('too-large', /more than 2 entries/, [bytes], { maxEntries: 2 });
    await refuses('too-large', /more than 100 bytes/, [bytes], { maxBytes: 100 });
    await refuses('too-large', /bytes/, [gzipSync(bytes)], { maxBytes: bytes.length - 1 });
    await readInitramfs([gzipSync(bytes)], { maxBytes: bytes.length, maxEntries: 3 });
    const [entry] = cpioEntries([file('a', '1')], 0);
    const lying = Buffer.from(encodeCpio([entry as CpioEntry]));
    lying.write('FFFFFFF0', 6 + 6 * 8);
    await refuses('too-large', /bytes/, [gzipSync(lying)]);
  });

  it('reads the same however a stream is cut into pieces', async () => {
    const name = fc.constantFrom('a', 'b', 'd', 'd/x', 'd/y', 'a/b', '/d/x', 'd/../b', 's/x', 's');
    const source = fc.oneof(
      fc.tuple(name, fc.string({ maxLength: 12 })).map(([path, content]) => file(path, content)),
      name.map(dir),
      fc.tuple(name, name).map(([path, target]) => symlink(path, target)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(source, { maxLength: 12 }), async (sources) => {
        const bytes = Buffer.from(archive(...sources));
        const whole = await readInitramfs([bytes]);
        const packed = await readInitramfs([gzipSync(bytes)]);
        assert.deepEqual(packed.remarks, whole.remarks);
        for (const path of ['/', 'a', 'b', 'd', 'd/x', 'd/y', 's', 's/x']) {
          assert.deepEqual(packed.stat(path), whole.stat(path));
          const stat = whole.stat(path);
          if (stat?.kind === 'file')
            assert.deepEqual(Buffer.from(packed.read(path)), Buffer.from(whole.read(path)));
        }
      }),
    );
  });
});
