import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { type CpioSource, cpioEntries, encodeCpio } from '../../../src/formats/archive/cpio.ts';
import {
  decodeBundle,
  encodeBundle,
  MAX_BUNDLE,
  MAX_BUNDLE_ENTRIES,
} from '../../../src/formats/records/request-bundle.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { demandCutsRefused, demandFlipsHandled, malformed } from '../strict.ts';

const folder = await temporaryFolder();
const ID = '0123456789abcdef';
const FILES = new Map<string, Uint8Array>([
  ['index', Buffer.from('bootseal-request 2\n')],
  ['certificates/ca.crt', Buffer.from('ca')],
  [`certificates/leaf-${ID}.crt`, Buffer.from('leaf')],
  ['certificates/openpgp.gpg', Buffer.from('key')],
  ['records/arch/x86_64/airootfs.sha512', Buffer.from('sum')],
  ['records/empty', Buffer.alloc(0)],
  ['scripts/boot.ipxe', Buffer.from('#!ipxe\n')],
  ['scripts/boot.ipxe.sig', Buffer.alloc(300, 3)],
  ['digests/0001.leaf', Buffer.alloc(32, 1)],
  [`digests/0002.leaf-${ID}.sig`, Buffer.alloc(256, 2)],
]);

const bundle = (...sources: CpioSource[]) => encodeCpio(cpioEntries(sources, 0));
const file = (name: string, data: Uint8Array = Buffer.from('x')) => ({ kind: 'file', name, data }) as const;
const plain = (files: ReadonlyMap<string, Uint8Array>) =>
  new Map([...files].map(([name, bytes]) => [name, Buffer.from(bytes)]));
const read = (bytes: Uint8Array) => plain(decodeBundle(bytes).files);

/** A folder with these files, as whoever answers by hand has one. */
function unpacked(name: string, files: ReadonlyMap<string, Uint8Array> = FILES): string {
  const into = join(folder, name);
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(into, path)), { recursive: true });
    writeFileSync(join(into, path), bytes);
  }
  return into;
}

const sh = (cwd: string, script: string, input?: Uint8Array) =>
  execFileSync('sh', ['-euc', script], { cwd, input, stdio: ['pipe', 'pipe', 'pipe'], maxBuffer: 2 ** 26 });

describe('a bundle', () => {
  it('is read back as it was written, folders before what is in them', () => {
    const bytes = encodeBundle(FILES);
    assert.deepEqual(read(bytes), plain(FILES));
    assert.deepEqual([...decodeBundle(bytes).files.keys()], [...FILES.keys()]);
    assert.deepEqual(encodeBundle(decodeBundle(bytes).files), bytes);
  });

  it('of no file at all is one', () => {
    assert.deepEqual(read(encodeBundle(new Map())), new Map());
  });

  it('is refused cut at any length, and with anything but zeros behind it', () => {
    const small = encodeBundle(new Map([...FILES].slice(0, 2)));
    demandCutsRefused(decodeBundle, small);
    for (const more of [Buffer.of(0, 0, 1), Buffer.from('x'), small])
      assert.throws(() => decodeBundle(Buffer.concat([small, more])), malformed(/after the trailer/));
    assert.deepEqual(read(Buffer.concat([small, Buffer.alloc(512)])), read(small));
  });

  it('with any byte changed is malformed, or another bundle', () => {
    const small = encodeBundle(new Map([...FILES].slice(0, 3)));
    assert.ok(demandFlipsHandled(decodeBundle, small) > small.length);
  });

  it('holds files of every name and content as they are', () => {
    const name = fc.oneof(
      fc.constantFrom(
        'index',
        'certificates/openpgp.gpg',
        'certificates/openpgp-manifest.gpg',
        'certificates/codesign.crt',
        'certificates/manifest.crt',
        `certificates/ca.7-${ID}.crt`,
        `certificates/leaf-${ID}.crt`,
      ),
      fc
        .tuple(
          fc.integer({ min: 0, max: 99_999 }),
          fc.constantFrom('leaf', 'openpgp', `leaf-${ID}`),
          fc.constantFrom('', '.sig'),
        )
        .map(([number, key, end]) => `digests/${String(number).padStart(4, '0')}.${key}${end}`),
      fc
        .tuple(
          fc.constantFrom('records', 'scripts'),
          fc
            .stringMatching(/^[a-z0-9]{1,6}(\/[A-Za-z0-9._+]{1,6}){0,2}$/)
            .filter((path) => !/(^|\/)\.{1,2}(\/|$)/.test(path)),
        )
        .map((parts) => parts.join('/')),
    );
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(name, fc.uint8Array()), { selector: ([of]) => of }), (entries) => {
        const files = new Map(entries);
        assert.deepEqual(read(encodeBundle(files)), plain(files));
      }),
    );
  });

  it('bytes thrown together are malformed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (octets) => {
        assert.throws(() => decodeBundle(octets), Malformed);
        assert.throws(
          () => decodeBundle(Buffer.concat([encodeBundle(FILES).subarray(0, 300), octets])),
          Malformed,
        );
      }),
    );
  });
});

describe('a bundle is refused', () => {
  for (const name of [
    '../index',
    '/index',
    '././index',
    './../index',
    './/index',
    'index/',
    'Index',
    'index ',
    'index2',
    'x',
    '.bashrc',
    'digests/x',
    'digests/1.leaf',
    'digests/00001.leaf',
    'digests/0001.ca',
    // What is asked for as text has no digest that somebody could sign unread.
    'digests/0001.manifest',
    'digests/0001.boot',
    `digests/0001.boot-${ID}`,
    'digests/0001.openpgp-script',
    'digests/0001.openpgp-manifest',
    'digests/100000.leaf',
    'digests/0001.leaf.sig.sig',
    'digests/../index',
    `digests/0001.leaf-${ID}0`,
    'certificates/root.crt',
    'certificates/ca.8.crt',
    'certificates/openpgp-payload.gpg',
    'certificates/script.gpg',
    'certificates/ca.key',
    'certificates/../ca.crt',
    'certificates/leaf-0123.crt',
    'records',
    'records/',
    'records//x',
    'records/../x',
    'scripts',
    'scripts/',
    'scripts/../x',
    'scripts//x',
    'texts/x',
    'records/../../x',
    'records/./x',
    'records/x/..',
    'records/-rf',
    'records/a b',
    'records/a\nb',
    'records/a\\b',
    `records/${'x'.repeat(256)}`,
    `records/${'x/'.repeat(512)}x`,
    'records/\u00e9',
    'index\u202e',
  ]) {
    it(`for a file called ${JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name)}`, () => {
      assert.throws(
        () => decodeBundle(bundle(file('index'), file(name))),
        malformed(/belongs to no request/),
      );
    });
  }

  for (const name of ['..', '/', '../x', '/etc', 'records/../..', '', './']) {
    it(`for a folder called ${JSON.stringify(name)}`, () => {
      assert.throws(() => decodeBundle(bundle({ kind: 'directory', name })), Malformed);
    });
  }

  const unusual: readonly (readonly [string, readonly CpioSource[], RegExp])[] = [
    ['a symbolic link', [{ kind: 'symlink', name: 'index', target: 'x' }], /no plain file/],
    [
      'a symbolic link to a folder outside',
      [{ kind: 'symlink', name: 'records', target: '/etc' }],
      /no plain file/,
    ],
    ['a character device', [{ kind: 'char', name: 'index', rdev: { major: 1, minor: 3 } }], /no plain file/],
    ['a block device', [{ kind: 'block', name: 'index', rdev: { major: 8, minor: 0 } }], /no plain file/],
    [
      'a hard link',
      [file('index'), { kind: 'link', name: 'digests/0001.leaf', to: 'index' }],
      /no plain file/,
    ],
    ['a name twice', [file('index'), file('index')], /index is there twice/],
    ['a name twice, once with ./', [file('records/a'), file('./records/a')], /records\/a is there twice/],
  ];
  for (const [what, sources, fact] of unusual) {
    it(`for ${what}`, () => {
      assert.throws(() => decodeBundle(bundle(...sources)), malformed(fact));
    });
  }

  for (const kind of ['fifo', 'socket'] as const) {
    it(`for a ${kind}`, () => {
      const [entry] = cpioEntries([file('index', Buffer.alloc(0))], 0);
      assert.ok(entry);
      assert.throws(() => decodeBundle(encodeCpio([{ ...entry, kind }])), malformed(/no plain file/));
    });
  }

  it('for a header that promises four gigabytes, before they are looked for', () => {
    for (const size of ['FFFFFFFF', '80000000', '08000001']) {
      const bomb = Buffer.from(bundle(file('index')));
      bomb.write(size, 6 + 6 * 8, 'latin1');
      assert.throws(() => decodeBundle(bomb), malformed(/more data than allowed/));
    }
    const name = Buffer.from(bundle(file('index')));
    name.write('FFFFFFFF', 6 + 11 * 8, 'latin1');
    assert.throws(() => decodeBundle(name), malformed(/name of/));
  });

  it('for more bytes than any has', () => {
    assert.throws(() => decodeBundle(Buffer.alloc(MAX_BUNDLE + 1)), malformed(/more than 134217728 bytes/));
  });

  it('for a million entries', () => {
    const [entry] = cpioEntries([{ kind: 'directory', name: 'records' }], 0);
    assert.ok(entry);
    const archive = encodeCpio([entry]);
    const one = archive.subarray(0, 120);
    const many = (count: number) =>
      Buffer.concat([...Array<Uint8Array>(count).fill(one), archive.subarray(one.length)]);
    assert.deepEqual(read(many(MAX_BUNDLE_ENTRIES)), new Map());
    assert.throws(() => decodeBundle(many(MAX_BUNDLE_ENTRIES + 1)), malformed(/more than 200000 entries/));
    assert.throws(() => decodeBundle(many(1_000_000)), Malformed);
  });

  it('for what is no cpio: a tar, a PEM, nothing', () => {
    const tar = sh(unpacked('tar'), 'tar -c .');
    for (const bytes of [
      tar,
      Buffer.from('-----BEGIN CERTIFICATE-----\n'),
      Buffer.alloc(0),
      Buffer.alloc(512),
    ])
      assert.throws(() => decodeBundle(bytes), Malformed);
  });

  it('with a message that quotes a name, and no more of it than a line holds', () => {
    assert.throws(() => decodeBundle(bundle(file('\u001b[31m\nx'))), malformed(/"\\u001b\[31m\\nx" belongs/));
    assert.throws(
      () => decodeBundle(bundle(file('x'.repeat(4000)))),
      (error: Error) => error.message.length < 300,
    );
  });
});

describe('GNU cpio', () => {
  it('opens a bundle, and what it closes again is the same bundle', () => {
    const opened = join(folder, 'opened');
    mkdirSync(opened);
    sh(opened, 'cpio -id --no-absolute-filenames', encodeBundle(FILES));
    for (const [name, bytes] of FILES)
      assert.deepEqual(readFileSync(join(opened, name)), Buffer.from(bytes), name);
    for (const list of [
      'find . | cpio -o -H newc',
      'find . -depth | cpio -o -H newc',
      'find * -type f | cpio -o -H newc --reproducible',
      'find . | cpio -o -H crc',
    ]) {
      const closed = read(sh(opened, list));
      assert.deepEqual(new Map([...closed].sort()), new Map([...plain(FILES)].sort()), list);
    }
  });

  it('in another of its formats is refused', () => {
    const opened = unpacked('formats');
    for (const format of ['bin', 'odc', 'ustar', 'tar'])
      assert.throws(
        () => decodeBundle(sh(opened, `find . | cpio -o -H ${format}`)),
        malformed(/magic|portable/),
        format,
      );
  });

  it('with links among the files is refused', () => {
    const hard = unpacked('hard');
    linkSync(join(hard, 'index'), join(hard, 'records', 'again'));
    assert.throws(() => decodeBundle(sh(hard, 'find . | cpio -o -H newc')), malformed(/no plain file/));
    const soft = unpacked('soft');
    symlinkSync('index', join(soft, 'records', 'again'));
    assert.throws(() => decodeBundle(sh(soft, 'find . | cpio -o -H newc')), malformed(/no plain file/));
  });

  it('with what an editor or a person left beside the files is refused by that name', () => {
    const left = unpacked('left');
    writeFileSync(join(left, 'index~'), 'x');
    assert.throws(
      () => decodeBundle(sh(left, 'find . | cpio -o -H newc')),
      malformed(/"index~" belongs to no request/),
    );
  });
});

describe('a request for 50,000 signatures', () => {
  it('is read within a bounded heap', async () => {
    // Whoever signs may do so on a small machine; a heap beyond this ends the thread.
    const [records, bundles] = ['signing-request.js', 'request-bundle.js'].map(
      (name) => new URL(`../../../src/formats/records/${name}`, import.meta.url).href,
    );
    const script = `
      const { parentPort } = require('node:worker_threads');
      (async () => {
        const { encodeSigningRequest, decodeSigningRequest } = await import('${records}');
        const { encodeBundle, decodeBundle } = await import('${bundles}');
        const digest = 'ab'.repeat(32);
        const signatures = Array.from({ length: 50000 }, (_, at) => ({
          number: at + 1, key: 'codesign', algorithm: 'rsa-sha256', digest, size: 1, suffix: '.cms.sig', path: 'k' + at,
        }));
        const index = encodeSigningRequest({
          release: 'arch/1', manifestSha256: digest, certificates: [], openpgp: [], leaves: [], records: [], kept: [],
          signatures, texts: [],
        });
        const files = new Map([['index', index]]);
        for (const { number } of signatures)
          files.set('digests/' + String(number).padStart(4, '0') + '.codesign', Buffer.alloc(32));
        const { files: read } = decodeBundle(encodeBundle(files));
        parentPort.postMessage([read.size, decodeSigningRequest(read.get('index')).signatures.length]);
      })();`;
    const worker = new Worker(script, { eval: true, resourceLimits: { maxOldGenerationSizeMb: 192 } });
    const [message] = await once(worker, 'message');
    assert.deepEqual(message, [50_001, 50_000]);
    await worker.terminate();
  });
});
