import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import {
  CHECKS,
  DIRECTORY,
  type Early,
  early,
  type Files,
  flipped,
  initrd,
  keyFiles,
  outcomes,
  ROOT,
  SERVER,
  sealedRoot,
  without,
} from './release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const files = await sealedRoot(join(folder, 'one'), keys);
const other = await sealedRoot(join(folder, 'two'), keys, 'another image');
const initrds = [initrd(await keyFiles(keys))];
const SUMS = `${DIRECTORY}/airootfs.sha512`;
const GOOD = { checksum: 'verified', openpgp: 'verified', cms: 'verified' };
const DAY = 86_400_000;

const cmdline = (words: string): string => `archisobasedir=arch ${words} archiso_http_srv=${SERVER}`;
const changed = (name: string, bytes: Uint8Array): Files => ({ ...files, [name]: bytes });
const original = (name: string): Uint8Array => files[name] as Uint8Array;

describe('early userspace', () => {
  it('probes the image, fetches its seals, and reads the image once', async () => {
    const ran = await early({ files, initrds });
    assert.deepEqual(ran.asked, [`0-0 ${ROOT}`, SUMS, `${ROOT}.sig`, `${ROOT}.cms.sig`, ROOT]);
    assert.equal(ran.path, ROOT);
  });

  it('checks in one order, whatever the order on the command line', async () => {
    const ran = await early({ files, initrds, cmdline: cmdline('cms_verify=y verify checksum=y') });
    assert.deepEqual(
      ran.findings.map(({ check }) => check),
      ['checksum', 'openpgp', 'cms'],
    );
    assert.deepEqual(ran.console, [
      'Checksum is OK, continue booting.',
      'Signature is OK, continue booting.',
      'Signature is OK, continue booting.',
    ]);
  });

  it('takes an EROFS image where there is no squashfs image', async () => {
    const renamed = Object.fromEntries(
      Object.entries(files).map(([name, bytes]) => [name.replace('.sfs', '.erofs'), bytes]),
    );
    const sums = Buffer.from(original(SUMS)).toString().replace('airootfs.sfs', 'airootfs.erofs');
    const ran = await early({ files: { ...renamed, [SUMS]: Buffer.from(sums) }, initrds });
    assert.deepEqual(outcomes(ran), GOOD);
    assert.deepEqual(ran.asked.slice(0, 2), [`0-0 ${ROOT}`, `0-0 ${DIRECTORY}/airootfs.erofs`]);
    assert.equal(ran.path, `${DIRECTORY}/airootfs.erofs`);
  });

  it('does not read an image for the probe where a server ignores Range', async () => {
    const ran = await early({ files, initrds, ranges: false });
    assert.deepEqual(outcomes(ran), GOOD);
    assert.ok(ran.sent < 2 * original(ROOT).length);
  });

  it('looks below the folder and architecture that the command line names', async () => {
    const moved = Object.fromEntries(
      Object.entries(files).map(([name, bytes]) => [name.replace(DIRECTORY, 'live/i686'), bytes]),
    );
    const words = `archisobasedir=live arch=i686 ${CHECKS} archiso_http_srv=${SERVER}`;
    assert.deepEqual(outcomes(await early({ files: moved, initrds, cmdline: words })), GOOD);
  });
});

/** A case, what each check says, and what is wrong. */
type Case = readonly [what: string, given: Partial<Early>, says: Record<string, string>];

const BAD = 'bad-signature';
const TAMPERED: readonly Case[] = [
  [
    'one bit of the image',
    { files: changed(ROOT, flipped(original(ROOT), 77)) },
    { checksum: BAD, openpgp: BAD, cms: BAD },
  ],
  [
    'the last byte of the image',
    { files: changed(ROOT, flipped(original(ROOT))) },
    { checksum: BAD, openpgp: BAD, cms: BAD },
  ],
  [
    'a byte behind the image',
    { files: changed(ROOT, Buffer.concat([original(ROOT), Buffer.from('x')])) },
    { checksum: BAD, openpgp: BAD, cms: BAD },
  ],
  [
    'an image that is cut',
    { files: changed(ROOT, original(ROOT).subarray(0, -1)) },
    { checksum: BAD, openpgp: BAD, cms: BAD },
  ],
  [
    'another image of the same site',
    { files: changed(ROOT, other[ROOT] as Uint8Array) },
    { checksum: BAD, openpgp: BAD, cms: BAD },
  ],
  [
    'another image with its own checksum',
    { files: { ...files, [ROOT]: other[ROOT] as Uint8Array, [SUMS]: other[SUMS] as Uint8Array } },
    { ...GOOD, openpgp: BAD, cms: BAD },
  ],
  [
    'one digit of the checksum',
    { files: changed(SUMS, flipped(original(SUMS), 3)) },
    { ...GOOD, checksum: BAD },
  ],
  [
    'a checksum of another file',
    { files: changed(SUMS, Buffer.from(Buffer.from(original(SUMS)).toString().replace('.sfs', '.img'))) },
    { ...GOOD, checksum: 'absent' },
  ],
  ['an empty checksum file', { files: changed(SUMS, Buffer.alloc(0)) }, { ...GOOD, checksum: 'malformed' }],
  [
    'a checksum file that is a page',
    { files: changed(SUMS, Buffer.from('<html>404</html>\n')) },
    { ...GOOD, checksum: 'malformed' },
  ],
  ['a missing checksum', { files: without(files, SUMS) }, { ...GOOD, checksum: 'absent' }],
  [
    'the OpenPGP signature’s last byte',
    { files: changed(`${ROOT}.sig`, flipped(original(`${ROOT}.sig`))) },
    { ...GOOD, openpgp: BAD },
  ],
  [
    'an OpenPGP seal that is cut',
    { files: changed(`${ROOT}.sig`, original(`${ROOT}.sig`).subarray(0, 100)) },
    { ...GOOD, openpgp: 'malformed' },
  ],
  [
    'an empty OpenPGP seal',
    { files: changed(`${ROOT}.sig`, Buffer.alloc(0)) },
    { ...GOOD, openpgp: 'malformed' },
  ],
  ['a missing OpenPGP seal', { files: without(files, `${ROOT}.sig`) }, { ...GOOD, openpgp: 'absent' }],
  [
    'the CMS signature’s last byte',
    { files: changed(`${ROOT}.cms.sig`, flipped(original(`${ROOT}.cms.sig`))) },
    { ...GOOD, cms: BAD },
  ],
  [
    'a CMS seal with a byte behind it',
    { files: changed(`${ROOT}.cms.sig`, Buffer.concat([original(`${ROOT}.cms.sig`), Buffer.from([0])])) },
    { ...GOOD, cms: 'malformed' },
  ],
  ['a missing CMS seal', { files: without(files, `${ROOT}.cms.sig`) }, { ...GOOD, cms: 'absent' }],
  [
    'the seals of another image',
    { files: { ...other, [ROOT]: original(ROOT), [SUMS]: original(SUMS) } },
    { ...GOOD, openpgp: BAD, cms: BAD },
  ],
  [
    'seals that changed places',
    {
      files: {
        ...files,
        [`${ROOT}.sig`]: original(`${ROOT}.cms.sig`),
        [`${ROOT}.cms.sig`]: original(`${ROOT}.sig`),
      },
    },
    { ...GOOD, openpgp: 'malformed', cms: 'malformed' },
  ],
  [
    'a seal without an end',
    { files: changed(`${ROOT}.sig`, Buffer.alloc(1024 * 1024 + 1)) },
    { ...GOOD, openpgp: 'too-large' },
  ],
  ['a seal whose transfer breaks', { breaks: { [`${ROOT}.cms.sig`]: 0 } }, { ...GOOD, cms: 'unreachable' }],
  ['a clock after the certificates', { now: NOW + 3 * 365 * DAY }, { ...GOOD, cms: 'expired' }],
  [
    'a clock before everything',
    { now: NOW - 30 * DAY },
    { ...GOOD, openpgp: 'not-yet-valid', cms: 'not-yet-valid' },
  ],
];

describe('early userspace refuses', () => {
  for (const [what, given, says] of TAMPERED) {
    it(`${what}, and says by which check`, async () => {
      const ran = await early({ files, initrds, ...given });
      assert.deepEqual(outcomes(ran), says);
      const first = Object.values(says).find((code) => code !== 'verified');
      assert.equal(ran.refusal?.code, first);
      assert.equal(ran.verified, undefined);
      assert.equal(
        ran.console.filter((line) => line.startsWith('ERROR: ')).length,
        Object.values(says).filter((code) => code !== 'verified').length,
      );
    });
  }

  for (const words of ['', 'checksum=n', 'checksum=yes verify=1 cms_verify=on', 'checksum=y verify=n']) {
    it(`an image that no key vouches for: the command line says "${words}"`, async () => {
      const ran = await early({ files, initrds, cmdline: cmdline(words) });
      assert.equal(ran.refusal?.code, 'no-verdict');
      assert.match(ran.refusal?.message ?? '', /asks for no check that has a key behind it/);
      assert.equal(ran.verified, undefined);
    });
  }

  it('a tampered image even where its one check is the checksum', async () => {
    const ran = await early({
      files: changed(ROOT, flipped(original(ROOT))),
      initrds,
      cmdline: cmdline('checksum'),
    });
    assert.deepEqual([ran.refusal?.code, ran.verified], [BAD, undefined]);
  });

  const NOWHERE: readonly [what: string, given: Partial<Early>, code: string, asks: number][] = [
    ['a command line that names no server', { cmdline: CHECKS }, 'absent', 0],
    [
      'a server without a slash at its end',
      { cmdline: `${CHECKS} archiso_http_srv=http://10.0.0.1` },
      'malformed',
      0,
    ],
    [
      'a server that a shell would run',
      { cmdline: `${CHECKS} archiso_http_srv=http://$(reboot)/` },
      'malformed',
      0,
    ],
    [
      'a server that early userspace would have to expand',
      { cmdline: `${CHECKS} archiso_http_srv=http://\${pxeserver}/` },
      'malformed',
      0,
    ],
    ['a server of another kind', { cmdline: `${CHECKS} archiso_http_srv=file:///etc/` }, 'malformed', 0],
    ['a server without any image', { files: without(files, ROOT) }, 'absent', 2],
    ['a longer image than it may be', { maxRootBytes: 199_999 }, 'too-large', 5],
    ['an image whose transfer breaks', { breaks: { [ROOT]: 65_536 } }, 'unreachable', 5],
  ];
  for (const [what, given, code, asks] of NOWHERE) {
    it(`${what}, with one line on the console`, async () => {
      const ran = await early({ files, initrds, ...given });
      assert.equal(ran.refusal?.code, code);
      assert.deepEqual([ran.verified, ran.asked.length], [undefined, asks]);
      assert.ok(ran.findings.every(({ verified }) => !verified));
      assert.deepEqual(ran.console, [`ERROR: ${ran.refusal?.message}`]);
    });
  }

  it('an endless image at its limit, not at its end', async () => {
    const endless = changed(ROOT, Buffer.alloc(20_000_000));
    const ran = await early({ files: endless, initrds, maxRootBytes: 200_000 });
    assert.equal(ran.refusal?.code, 'too-large');
    assert.ok(ran.sent < 1_000_000);
  });

  it('nothing because of a server that breaks off the probe it was not asked to finish', async () => {
    const ran = await early({ files, initrds, ranges: false, breaks: { [ROOT]: 1_000_000 } });
    assert.deepEqual(outcomes(ran), GOOD);
  });
});
