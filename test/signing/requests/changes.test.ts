import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Manifest, ManifestFile, Role } from '../../../src/formats/records/manifest.ts';
import { changesSince } from '../../../src/signing/requests/changes.ts';

const file = (role: Role, path: string, digit = 'a'): ManifestFile => ({
  role,
  path,
  size: 1,
  sha256: digit.repeat(64),
  sha512: digit.repeat(128),
});

const BEFORE: Manifest = {
  release: 'arch/1',
  serial: 1,
  issued: 0,
  bestBefore: 1000,
  arch: 'x86_64',
  layout: 'plain',
  cmdline: ['quiet', 'verify=y', 'console=tty0', 'console=ttyS0'],
  free: [{ name: 'ip', type: 'dhcp' }],
  shell: false,
  files: [file('kernel', 'linux'), file('initrd', 'initrd')],
  verity: [],
  fsverity: [],
};
const since = (change: Partial<Manifest>) => changesSince(BEFORE, { ...BEFORE, serial: 2, ...change });

describe('what changed since a release', () => {
  const cases: readonly (readonly [string, Partial<Manifest>, readonly string[]])[] = [
    ['nothing', {}, []],
    ['dates and digests of records alone', { issued: 5000, bestBefore: 9000, release: 'arch/2' }, []],
    ['a longer life', { bestBefore: 400 * 86_400_000 }, ['good for 400 days, and not for 0']],
    [
      'a word that is new',
      { cmdline: [...BEFORE.cmdline, 'init=/bin/sh'] },
      ['new on the command line: init=/bin/sh'],
    ],
    [
      'a word that is gone',
      { cmdline: BEFORE.cmdline.slice(0, 3) },
      ['gone on the command line: console=ttyS0'],
    ],
    [
      'a word with another value',
      { cmdline: ['quiet', 'verify=n', 'console=tty0', 'console=ttyS0'] },
      ['new on the command line: verify=n', 'gone on the command line: verify=y'],
    ],
    ['a word twice', { cmdline: ['quiet', ...BEFORE.cmdline] }, ['new on the command line: quiet']],
    [
      'words in another order: of two consoles the last one counts',
      { cmdline: ['quiet', 'verify=y', 'console=ttyS0', 'console=tty0'] },
      ['the order of the words on the command line changed'],
    ],
    [
      'what loaders may add',
      { free: [{ name: 'ip', type: 'ipv4' }] },
      ['new among what loaders may add: ip=(ipv4)', 'gone among what loaders may add: ip=(dhcp)'],
    ],
    ['a shell', { shell: true }, ['a shell is allowed']],
    ['a layout', { layout: 'nixos' }, ['a system of nixos, and not of plain']],
    ['the words of a module', { moduleCmdline: ['quiet'] }, ["new on the module's command line: quiet"]],
    ['an architecture', { arch: 'aarch64' }, ['for aarch64, and not for x86_64']],
    ['a serial that stands still', { serial: 1 }, ['serial 1, which is not above 1']],
    [
      'files',
      { files: [file('kernel', 'linux', 'b'), file('overlay', 'initrd'), file('rootfs', 'root')] },
      ['another kernel: linux', 'initrd is the overlay, and was the initrd', 'new rootfs: root'],
    ],
    ['a file that is gone', { files: BEFORE.files.slice(0, 1) }, ['gone initrd: initrd']],
  ];
  for (const [what, change, said] of cases)
    it(`tells of ${what}`, () => assert.deepEqual(since(change), said));

  it('tells of a shell that is gone', () => {
    assert.deepEqual(changesSince({ ...BEFORE, shell: true }, { ...BEFORE, serial: 2 }), [
      'a shell is allowed no more',
    ]);
  });
});
