import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isoSeconds } from '../../../src/formats/records/lines.ts';
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  type Role,
} from '../../../src/formats/records/manifest.ts';
import type { FreeType } from '../../../src/formats/script/cmdline.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';
import { manifestValues } from './manifest-values.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(128);
const C = 'c'.repeat(64);

/** DESIGN §5, and what it leaves out of its example; the root image is a whole number of blocks. */
const GOLDEN = `bootseal-manifest 1
release arch/2026.11.01
serial 2026110100
issued 2026-11-01T00:00:00Z
best-before 2027-01-30T00:00:00Z
arch x86_64
cmdline archisobasedir=arch checksum=y verify=y cms_verify=y
free ip dhcp
free BOOTIF mac
free archiso_http_srv url
file kernel 8247232 ${A} ${B} arch/boot/x86_64/vmlinuz-linux
file initrd 4096 ${A} ${B} arch/boot/amd-ucode.img
file initrd 0 ${A} ${B} arch/boot/x86_64/initramfs-linux.img
file overlay 512 ${A} ${B} arch/boot/overlay.img
file rootfs 900001792 ${A} ${B} arch/x86_64/airootfs.sfs
file hashtree 7098368 ${A} ${B} arch/x86_64/airootfs.sfs.verity
verity ${C} - 219727 arch/x86_64/airootfs.sfs
fsverity ${C} arch/x86_64/airootfs.sfs
`;

const file = (role: Role, path: string, size: number) => ({ role, path, size, sha256: A, sha512: B });
const VALUE: Manifest = {
  release: 'arch/2026.11.01',
  serial: 2026110100,
  issued: Date.UTC(2026, 10, 1),
  bestBefore: Date.UTC(2027, 0, 30),
  arch: 'x86_64',
  layout: 'plain',
  cmdline: ['archisobasedir=arch', 'checksum=y', 'verify=y', 'cms_verify=y'],
  free: [
    { name: 'ip', type: 'dhcp' },
    { name: 'BOOTIF', type: 'mac' },
    { name: 'archiso_http_srv', type: 'url' },
  ],
  shell: false,
  files: [
    file('kernel', 'arch/boot/x86_64/vmlinuz-linux', 8247232),
    file('initrd', 'arch/boot/amd-ucode.img', 4096),
    file('initrd', 'arch/boot/x86_64/initramfs-linux.img', 0),
    file('overlay', 'arch/boot/overlay.img', 512),
    file('rootfs', 'arch/x86_64/airootfs.sfs', 900_001_792),
    file('hashtree', 'arch/x86_64/airootfs.sfs.verity', 7_098_368),
  ],
  verity: [{ rootHash: C, salt: '-', dataBlocks: 219_727, path: 'arch/x86_64/airootfs.sfs' }],
  fsverity: [{ digest: C, path: 'arch/x86_64/airootfs.sfs' }],
};

const decode = (text: string): Manifest => decodeManifest(Buffer.from(text, 'latin1'));
/** The golden manifest with the first match replaced; there must be one. */
function change(from: string | RegExp, to: string): string {
  const changed = GOLDEN.replace(from, to);
  assert.notEqual(changed, GOLDEN, `${from} is in the manifest`);
  return changed;
}
const cmdline = (words: string): string => change(/^cmdline .*$/m, `cmdline ${words}`);
/** The first line that begins so. */
const line = (start: string): string => `${GOLDEN.split('\n').find((text) => text.startsWith(start))}\n`;

describe('a manifest', () => {
  it('may list what a record is called, where no record stands', () => {
    for (const path of ['arch/boot.ipxe', 'arch/release.manifest', 'grub.cfg.img', 'sig', 'a.sig/vmlinuz']) {
      assert.equal(decode(change('arch/boot/x86_64/vmlinuz-linux', path)).files[0]?.path, path);
    }
  });

  it('is these bytes and means these values', () => {
    assert.deepEqual(decode(GOLDEN), VALUE);
    assert.equal(Buffer.from(encodeManifest(VALUE)).toString('latin1'), GOLDEN);
  });

  it('has one spelling: what is read is written again byte for byte', () => {
    fc.assert(
      fc.property(manifestValues(), (value) => {
        const bytes = encodeManifest(value);
        assert.deepEqual(decodeManifest(bytes), value);
        assert.deepEqual(encodeManifest(decodeManifest(bytes)), bytes);
      }),
    );
  });

  it('is refused cut anywhere but after a line that may be the last', () => {
    const whole = [];
    for (let length = 0; length < GOLDEN.length; length++) {
      try {
        decode(GOLDEN.slice(0, length));
        whole.push(length);
      } catch (error) {
        assert.ok(malformed(/./)(error), String(error));
      }
    }
    // A manifest that names fewer files is another manifest; its seals say which one was meant.
    assert.ok(whole.every((length) => GOLDEN[length - 1] === '\n'));
    assert.equal(whole.length, 6);
  });

  it('never breaks its reader with a byte changed', () => {
    assert.ok(demandFlipsHandled(decodeManifest, Buffer.from(GOLDEN)) > GOLDEN.length);
  });

  const vectors: Readonly<Record<string, [() => string, RegExp]>> = {
    'is empty': [() => '', /no newline at the end/],
    'lacks its last newline': [() => GOLDEN.slice(0, -1), /no newline at the end/],
    'has an empty line at its end': [() => `${GOLDEN}\n`, /line 19: unknown, repeated or misplaced key/],
    'has an empty line inside': [() => change('\nserial', '\n\nserial'), /"serial" belongs here/],
    'has carriage returns': [() => GOLDEN.replaceAll('\n', '\r\n'), /control or non-ASCII/],
    'holds a tab': [() => change('checksum=y ', 'checksum=y\t'), /control or non-ASCII/],
    'holds a NUL': [() => change('x86_64', 'x86\0'), /control or non-ASCII/],
    'holds a DEL': [() => change('x86_64', 'x86\x7f'), /control or non-ASCII/],
    'holds an escape sequence': [() => change('x86_64', '\x1b[2J'), /control or non-ASCII/],
    'holds a letter beyond ASCII': [() => change('x86_64', 'x86\xe4'), /control or non-ASCII/],
    'is over 64 KiB': [() => GOLDEN.padEnd(64 * 1024 + 1, '\n'), /65537 bytes, more than 65536/],
    'has another version': [() => change('manifest 1', 'manifest 2'), /the first line is not/],
    'begins with a byte order mark': [() => `\xef\xbb\xbf${GOLDEN}`, /non-ASCII/],
    'has an unknown key': [() => `${GOLDEN}colour blue\n`, /unknown, repeated or misplaced key/],
    'has an unknown key in the middle': [
      () => change('arch x86_64\n', 'arch x86_64\ncolour blue\n'),
      /"cmdline" belongs here/,
    ],
    'has a key in capitals': [() => change('\narch ', '\nArch '), /"arch" belongs here/],
    'lacks a key': [() => change(line('serial'), ''), /"serial" belongs here/],
    'has a key twice': [() => change(line('serial'), line('serial').repeat(2)), /"issued" belongs here/],
    'has its keys in another order': [
      () => change(line('serial') + line('issued'), line('issued') + line('serial')),
      /"serial" belongs here/,
    ],
    'has free after file': [() => GOLDEN + line('free ip'), /misplaced/],
    'has file after verity': [() => GOLDEN + line('file kernel'), /misplaced/],
    'has shell before free': [() => change(line('free ip'), `shell yes\n${line('free ip')}`), /no kernel/],
    'ends a line with a blank': [() => change('arch x86_64', 'arch x86_64 '), /blanks beyond one/],
    'has two blanks in a row': [() => change('arch x86_64', 'arch  x86_64'), /blanks beyond one/],
    'begins a line with a blank': [() => change('\narch x86', '\n arch x86'), /"arch" belongs here/],
    'has two words where one belongs': [() => change('arch x86_64', 'arch x86 64'), /arch takes one word/],
    'has no word where one belongs': [() => change('arch x86_64', 'arch'), /arch takes one word/],
    'names a release without a version': [() => change('arch/2026.11.01', 'arch'), /NAME\/VERSION/],
    'names a release above its folder': [() => change('arch/2026.11.01', 'arch/..'), /NAME\/VERSION/],
    'has an architecture that is a path': [() => change('arch x86_64', 'arch ../x86_64'), /arch/],
    'has a serial with a leading zero': [() => change('serial 2026', 'serial 02026'), /serial is no number/],
    'has a negative serial': [() => change('serial 2026', 'serial -2026'), /serial is no number/],
    'has a serial in another notation': [
      () => change('serial 2026110100', 'serial 2e9'),
      /serial is no number/,
    ],
    'has a serial above 2^53': [() => change('2026110100', '9007199254740993'), /serial is no number/],
    'has a date that does not exist': [() => change('2026-11-01T', '2026-11-31T'), /issued is no time/],
    'has an hour that does not exist': [() => change('01T00:00:00Z', '01T24:00:00Z'), /issued is no time/],
    'has a time with a fraction': [() => change('00:00:00Z', '00:00:00.0Z'), /issued is no time/],
    'has a time without its zone': [() => change('00:00:00Z', '00:00:00'), /issued is no time/],
    'is past its date when issued': [
      () => change('best-before 2027-01-30', 'best-before 2026-11-01'),
      /not after issued/,
    ],
    'has an unknown role': [() => change('file kernel', 'file script'), /unknown role "script"/],
    'has an upper-case digest': [() => change(A, A.toUpperCase()), /digest/],
    'has a short digest': [() => change(B, B.slice(1)), /digest/],
    'has a size that is no number': [() => change(' 8247232 ', ' 0x7dd800 '), /size is no number/],
    'has a file line with a word more': [
      () => change('vmlinuz-linux', 'vmlinuz-linux x'),
      /file takes 5 words/,
    ],
    'has an absolute path': [
      () => change(' arch/boot/x86_64/vmlinuz', ' /arch/boot/x86_64/vmlinuz'),
      /unsafe path/,
    ],
    'has a path above the tree': [() => change('arch/boot/x86_64/vmlinuz', '../vmlinuz'), /unsafe path/],
    'has a path with .. inside': [() => change('boot/x86_64/vmlinuz', 'boot/../vmlinuz'), /unsafe path/],
    'has a path that a shell expands': [() => change('vmlinuz-linux', 'vmlinuz-$x'), /unsafe path/],
    ...Object.fromEntries(
      [
        ...['vmlinuz.sig', 'vmlinuz.cms.sig', 'vmlinuz.ipxe.sig', 'release.manifest.0123456789abcdef.sig'],
        ...['arch/airootfs.sha512', 'arch/airootfs.sfs.roothash', 'arch/airootfs.sfs.roothash.cms.sig'],
        ...['release.manifest', 'boot.ipxe', 'grub.cfg', 'boot.ipxe/vmlinuz'],
        ...['SHA256SUMS', 'arch/SHA256SUMS', 'arch/SHA256SUMS.gpg', 'SHA256SUMS/vmlinuz'],
      ].map((path) => [
        `has a payload called ${path}`,
        [() => change('arch/boot/x86_64/vmlinuz-linux', path), /is the name of a seal or record/] as const,
      ]),
    ),
    'names a file twice': [
      () => change('boot/amd-ucode.img', 'boot/x86_64/initramfs-linux.img'),
      /initramfs-linux\.img twice/,
    ],
    'has two kernels': [() => change('file initrd', 'file kernel'), /a second kernel/],
    'has two root images': [() => change('file overlay', 'file rootfs'), /a second rootfs/],
    'has no kernel': [() => change(line('file kernel'), ''), /no kernel/],
    'has no file at all': [
      () =>
        GOLDEN.split('\n')
          .filter((text) => !/^(file|.*verity)/.test(text))
          .join('\n'),
      /no kernel/,
    ],
    'has its files in another order': [() => change('file overlay', 'file hashtree'), /files out of order/],
    'has a tree over a file that is no root image': [
      () => change(/(verity .* )arch\/x86_64\/airootfs\.sfs$/m, '$1arch/boot/overlay.img'),
      /verity names no root image/,
    ],
    'has two trees': [() => change(line('verity'), line('verity').repeat(2)), /repeated or misplaced key/],
    'has a tree with a salt': [() => change(`${C} - `, `${C} c0ffee `), /verity has a salt/],
    'has a root hash that is none': [() => change(`${C} - `, `${B} - `), /verity digest/],
    'has a tree of no size': [() => change(' 219727 ', ' many '), /data blocks is no number/],
    'has a tree of no data block': [() => change(' 219727 ', ' 0 '), /verity of no data block/],
    'has a tree over a part of the root image': [
      () => change(' 219727 ', ' 219726 '),
      /the root image is not 219726 blocks of 4096 bytes/,
    ],
    'has bytes behind the last block of its tree': [
      () => change(' 900001792 ', ' 900001793 '),
      /the root image is not 219727 blocks/,
    ],
    'has a hash tree of another size than its blocks make': [
      () => change(' 7098368 ', ' 7094272 '),
      /no hash tree arch\/x86_64\/airootfs\.sfs\.verity of 7098368 bytes/,
    ],
    'has a hash tree of another name': [() => change('.sfs.verity', '.verity'), /no hash tree/],
    'has no hash tree for its verity line': [() => change(line('file hashtree'), ''), /no hash tree/],
    'has a hash tree without its verity line': [
      () => change(line('verity'), ''),
      /line 16: a hash tree without its verity line/,
    ],
    'has an fs-verity digest of a file not listed': [
      () => change(`fsverity ${C} arch/`, `fsverity ${C} other/`),
      /fsverity names no file/,
    ],
    'has two fs-verity digests of one file': [
      () => GOLDEN + line('fsverity'),
      /line 19: fsverity twice or out of order/,
    ],
    'has its fs-verity digests in another order than its files': [
      () => `${GOLDEN}fsverity ${C} arch/boot/overlay.img\n`,
      /line 19: fsverity twice or out of order/,
    ],
    'has an fs-verity digest that is none': [
      () => change(`fsverity ${C}`, `fsverity ${B}`),
      /fsverity digest/,
    ],
    'frees a parameter twice': [() => change(line('free ip'), line('free ip').repeat(2)), /free ip twice/],
    'frees a parameter of an unknown type': [() => change('ip dhcp', 'ip string'), /NAME TYPE/],
    'frees a parameter without a type': [() => change('ip dhcp', 'ip'), /NAME TYPE/],
    'frees a parameter with an equals sign': [() => change('free ip', 'free ip='), /NAME TYPE/],
    'frees what it fixes': [() => cmdline('ip=10.0.0.1'), /ip both fixed and free/],
    'frees what it fixes bare': [() => cmdline('BOOTIF'), /BOOTIF both fixed and free/],
    'frees a word that opens a shell': [
      () => change('free ip dhcp', 'free init url'),
      /init must not be free/,
    ],
    'fixes a word with a quote': [() => cmdline('a="b'), /in cmdline/],
    'fixes a word that a shell evaluates': [
      () => cmdline('archiso_http_srv=http://$(reboot)/'),
      /in cmdline/,
    ],
    'says shell no': [
      () => change(line('file kernel'), `shell no\n${line('file kernel')}`),
      /shell is not "yes"/,
    ],
    'has a command line of 2048 bytes': [() => cmdline(`a=${'x'.repeat(2046)}`), /command line over 2047/],
    'has a command line of 2048 bytes in words': [
      () => cmdline(Array(1024).fill('x').join(' ').concat('x')),
      /over 2047/,
    ],
  };
  for (const [name, [make, fact]] of Object.entries(vectors)) {
    it(`is refused where it ${name}`, () => assert.throws(() => decode(make()), malformed(fact)));
  }

  it('may fix 2047 bytes of command line, or none', () => {
    const long = `a=${'x'.repeat(2045)}`;
    assert.deepEqual(decode(cmdline(long)).cmdline, [long]);
    assert.deepEqual(decode(change(/^cmdline .*$/m, 'cmdline')).cmdline, []);
    assert.throws(() => decode(cmdline('')), malformed(/blanks beyond one/));
  });
});

describe('words that open a shell', () => {
  const FORBIDDEN = [
    ...[
      'break',
      'break=premount',
      'disablehooks=archiso_pxe_http',
      'init=/bin/sh',
      'rdinit=/bin/sh',
      'emergency',
    ],
    ...[
      'single',
      'S',
      's',
      '1',
      '-b',
      '-s',
      'rescue',
      'rd.break',
      'rd.break=pre-mount',
      'rd.shell',
      'rd.emergency',
    ],
    ...[
      'systemd.unit=rescue.target',
      'rd.systemd.unit=emergency.target',
      'systemd.debug_shell',
      'rd.rescue',
      'rd.cmdline=ask',
      'systemd.wants=debug-shell.service',
      'rd.systemd.wants=x.service',
    ],
    ...['systemd.debug-shell=1', 'rd.systemd.debug_shell=1', 'systemd.crash_shell', 'systemd.run=/bin/sh'],
  ];
  const allow = (text: string) => text.replace(line('file kernel'), `shell yes\n${line('file kernel')}`);
  for (const word of FORBIDDEN) {
    it(`need "shell yes": ${word}`, () => {
      assert.throws(() => decode(cmdline(`quiet ${word}`)), malformed(/without "shell yes"/));
      const allowed = decode(allow(cmdline(`quiet ${word}`)));
      assert.deepEqual([allowed.shell, allowed.cmdline], [true, ['quiet', word]]);
      assert.equal(Buffer.from(encodeManifest(allowed)).toString(), allow(cmdline(`quiet ${word}`)));
    });
  }

  it('are not their neighbours', () => {
    const words = [
      'breakfast=y',
      'initrd=x',
      'singleton',
      '10',
      'rdinit=/bootseal/init',
      'systemd.unified=1',
    ];
    assert.deepEqual(decode(cmdline(words.join(' '))).cmdline, words);
    assert.throws(
      () => decode(cmdline('rdinit=/bootseal/init rdinit=/bin/sh init=/bin/sh')),
      malformed(/shell yes/),
    );
    assert.throws(() => decode(cmdline('rdinit=/bootseal/init/x')), malformed(/shell yes/));
  });
});

describe('a manifest that cannot be written', () => {
  it('is refused before anyone signs it', () => {
    const values: readonly Partial<Manifest>[] = [
      { release: 'arch' },
      { serial: -1 },
      { serial: 1.5 },
      { bestBefore: VALUE.issued },
      { arch: 'a b' },
      { cmdline: ['a b', ''] },
      { cmdline: ['a\nserial 1'] },
      { cmdline: ['init=/bin/sh'] },
      { moduleCmdline: [] },
      { free: [{ name: 'serial hex', type: '8' as FreeType }] },
      { layout: '' },
      { layout: 'Arch' },
      { layout: 'a\ncmdline x' },
      { files: VALUE.files.toReversed() },
      { files: VALUE.files.slice(0, -1) },
      { verity: [] },
      { files: [] },
      { files: [file('kernel', `k\nfile initrd 0 ${A} ${B} smuggled`, 1)], verity: [], fsverity: [] },
      { fsverity: [{ digest: C, path: 'elsewhere' }] },
    ];
    for (const value of values) {
      assert.throws(
        () => encodeManifest({ ...VALUE, ...value }),
        malformed(/./),
        JSON.stringify(value).slice(0, 60),
      );
    }
  });

  it('has times in whole seconds', () => {
    assert.equal(isoSeconds(Date.UTC(2026, 10, 1, 1, 2, 3)), '2026-11-01T01:02:03Z');
  });
});
