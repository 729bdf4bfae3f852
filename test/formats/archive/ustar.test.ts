import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeTarHeader,
  encodeTarHeader,
  TAR_BLOCK,
  TAR_END_OCTETS,
  tarHeaderLength,
  tarHeaderOctets,
  tarPadding,
} from '../../../src/formats/archive/ustar.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { demandCutsRefused, demandFlipsHandled, malformed } from '../strict.ts';

const folder = await temporaryFolder();
const GIB = 2 ** 30;
const LONG = `${'p'.repeat(100)}/${'q'.repeat(54)}/${'n'.repeat(99)}`;

describe('headers of tar', () => {
  it('are read as they are written, whatever the size and the name', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.constantFrom('a', 'objects/x', LONG, 'x'.repeat(100)),
          fc.stringMatching(/^[a-z0-9/.]{1,90}$/),
        ),
        fc.oneof(fc.nat(), fc.integer({ min: 8 * GIB - 2, max: 8 * GIB + 2 }), fc.maxSafeNat()),
        (path, size) => {
          const bytes = encodeTarHeader({ path, size });
          assert.equal(bytes.length, tarHeaderOctets(size));
          assert.equal(tarHeaderLength(bytes.subarray(0, TAR_BLOCK)), bytes.length);
          assert.deepEqual(decodeTarHeader(bytes), { path, size });
        },
      ),
    );
  });

  it('are refused where they are cut or have one bit changed', () => {
    const plain = encodeTarHeader({ path: 'objects/x', size: 5 });
    demandCutsRefused(decodeTarHeader, plain);
    assert.equal(demandFlipsHandled(decodeTarHeader, plain), 4 * plain.length, 'each is under the sum');
    const large = encodeTarHeader({ path: 'objects/x', size: 9 * GIB });
    demandCutsRefused(decodeTarHeader, large);
    // An extended header's own content is under no sum: a digit of the size may become another.
    const digits = String(9 * GIB).length;
    assert.ok(demandFlipsHandled(decodeTarHeader, large) >= 4 * (large.length - digits));
  });

  it('of a name that they have no room for are none', () => {
    for (const path of [
      '',
      'ü',
      'a b',
      'x'.repeat(101),
      `${'y'.repeat(156)}/z`,
      `${LONG}x/${'n'.repeat(99)}`,
    ])
      assert.throws(() => encodeTarHeader({ path, size: 0 }), malformed(/name/), path);
    for (const size of [-1, 0.5, 2 ** 53])
      assert.throws(() => encodeTarHeader({ path: 'a', size }), malformed(/size/));
  });

  it('of links, devices, folders and sparse files are refused by what they are', () => {
    for (const [type, fact] of [
      ['1', /a hard link/],
      ['2', /a symbolic link/],
      ['3', /a device/],
      ['5', /a folder/],
      ['6', /a FIFO/],
      ['S', /a sparse file/],
      ['L', /as GNU writes it/],
      ['g', /header for all/],
      ['\0', /old format/],
      ['7', /something/],
    ] as const) {
      const bytes = Buffer.from(encodeTarHeader({ path: 'a', size: 0 }));
      bytes.write(type, 156, 'latin1');
      assert.throws(() => decodeTarHeader(bytes), malformed(fact), type);
    }
  });

  it('that GNU tar writes of a file are not ours', () => {
    const out = execFileSync('tar', ['cf', '-', '--format=ustar', '-C', '/etc', 'hostname']);
    assert.throws(() => decodeTarHeader(out.subarray(0, TAR_BLOCK)), malformed(/another writer/));
  });
});

/** An archive of holes: what tar says of it is in its headers. */
function archive(members: readonly { path: string; size: number }[]): string {
  const path = join(folder, 'archive.tar');
  const file = openSync(path, 'w');
  let at = 0;
  for (const member of members) {
    const header = encodeTarHeader(member);
    writeSync(file, header, 0, header.length, at);
    at += header.length + member.size + tarPadding(member.size);
  }
  ftruncateSync(file, at + TAR_END_OCTETS);
  closeSync(file);
  return path;
}

it('GNU tar and Python list what was written, more than 8 GiB among it', () => {
  const members = [
    { path: 'first', size: 0 },
    { path: LONG, size: 513 },
    { path: 'large', size: 9 * GIB },
    { path: 'last', size: 8 * GIB - 1 },
  ];
  const path = archive(members);
  const listed = execFileSync('tar', ['tvf', path, '--full-time', '--utc'], { encoding: 'utf8' });
  assert.equal(
    listed.replace(/ +/g, ' '),
    members.map(({ path: name, size }) => `-rw-r--r-- 0/0 ${size} 1970-01-01 00:00:00 ${name}\n`).join(''),
  );
  const program =
    'import sys, tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.isfile(), m.size, m.name)';
  assert.equal(
    execFileSync('python3', ['-c', program, path], { encoding: 'utf8' }),
    members.map(({ path: name, size }) => `True ${size} ${name}\n`).join(''),
  );
});
