import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { encodeArmor } from '../../src/formats/asn1/armor.ts';
import { encodePacket, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { userId } from '../fixtures/openpgp.ts';
import { BORN, certificate, certify, MAINS, SELF, SUBJECT, THREE_MAINS } from '../keyrings/web-fixtures.ts';
import { run } from './command.ts';
import { runHere } from './here.ts';

const folder = await temporaryFolder();
const AT = ['--at', '2026-11-01'];
const VOUCHED = certificate(SUBJECT, userId(SUBJECT, SELF), ...MAINS.map((main) => certify(main)));
const UNVOUCHED = certificate(SUBJECT, userId(SUBJECT, SELF), certify(MAINS[0]));
const SHA1 = certificate(SUBJECT, userId(SUBJECT, { ...SELF, hash: 'sha1' }));
const upper = ({ key }: typeof SUBJECT) => key.fingerprint.toUpperCase();
const TRUSTED = MAINS.map((main) => `${upper(main)}:4:\n`).join('');

let count = 0;
/** A folder with files in it, and a path beside which `out` is free. */
async function place(files: Readonly<Record<string, Uint8Array | string>>): Promise<string> {
  const path = join(folder, String(count++));
  await mkdir(path);
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(path, name), bytes);
  return path;
}
/** As archlinux-keyring lays its files out. */
const web = (subject: Uint8Array, revoked = '') =>
  place({
    'site.gpg': Buffer.concat([...THREE_MAINS, subject]),
    'site-trusted': TRUSTED,
    'site-revoked': revoked,
  });

describe('keyring build', () => {
  it('writes a keyring, its lists, a VOA tree and a report, and says what became of each key', async () => {
    const cwd = await web(VOUCHED, `${'AB'.repeat(20)}\n`);
    const { code, out, err } = await run(['keyring', 'build', 'site.gpg', '--out', 'out', ...AT], { cwd });
    assert.deepEqual([code, err], [0, '']);
    assert.match(
      out,
      new RegExp(`^${SUBJECT.key.keyId} +Test <test@example.org> +kept +certified by 3$`, 'm'),
    );
    assert.match(out, new RegExp(`^${MAINS[0].key.keyId} +Main <main@example.org> +kept +trusted$`, 'm'));
    assert.match(out, /^KEPT: 4 kept, 0 dropped; out holds 8 files\.$/m);
    const names = (await readdir(join(cwd, 'out'), { recursive: true })).sort();
    const voa = 'voa/site/image/netboot/openpgp';
    const expected = [...MAINS, SUBJECT].map(({ key }) => `${voa}/${key.fingerprint}.openpgp`);
    assert.deepEqual(
      names.filter((name) => name.endsWith('.openpgp')),
      expected.sort(),
    );
    const lists = await Promise.all(
      ['site-trusted', 'site-revoked'].map((name) => readFile(join(cwd, 'out', name), 'utf8')),
    );
    // Whoever was vouched for vouches for nobody.
    const lines = [...MAINS.map((main) => `${upper(main)}:4:`), `${upper(SUBJECT)}:3:`].sort();
    assert.deepEqual(lists, [`${lines.join('\n')}\n`, `${'AB'.repeat(20)}\n`]);
    const report = JSON.parse(await readFile(join(cwd, 'out/report.json'), 'utf8'));
    assert.deepEqual(
      [report.at, report.marginals, report.counts],
      ['2026-11-01T00:00:00Z', 3, { kept: 4, dropped: {} }],
    );
  });

  it('makes what it would make of its own work, byte for byte', async () => {
    const cwd = await web(VOUCHED);
    await runHere(['keyring', 'build', 'site.gpg', '--out', 'one', ...AT], { cwd });
    const { code } = await runHere(['keyring', 'build', 'one', '--out', 'two', '--name', 'site', ...AT], {
      cwd,
    });
    assert.equal(code, 0);
    for (const name of ['site.gpg', 'site-trusted', 'site-revoked']) {
      assert.deepEqual(await readFile(join(cwd, 'two', name)), await readFile(join(cwd, 'one', name)), name);
    }
    const checked = await runHere(['keyring', 'check', 'two/site.gpg', ...AT], { cwd });
    assert.equal(checked.code, 0);
    assert.match(checked.out, /^KEPT: 4 kept, 0 dropped\.$/m);
  });

  it('succeeds where some are dropped, and names each with its reason', async () => {
    const cwd = await web(UNVOUCHED);
    const words = ['keyring', 'build', 'site.gpg', '--out', 'out', ...AT];
    const { code, out } = await runHere([...words, '--json'], { cwd });
    assert.equal(code, 0);
    const { dropped, counts } = JSON.parse(out);
    assert.deepEqual(counts, { kept: 3, dropped: { 'below-threshold': 1 } });
    assert.deepEqual(dropped, [
      {
        fingerprint: SUBJECT.key.fingerprint,
        userId: 'Test <test@example.org>',
        source: 'site.gpg',
        reason: 'below-threshold',
        detail: '1 of 3 trusted keys certify a user id of it.',
      },
    ]);
    const more = await runHere(['keyring', 'build', 'site.gpg', '--out', 'more', '--marginals', '1', ...AT], {
      cwd,
    });
    assert.match(more.out, /^KEPT: 4 kept, 0 dropped; /m);
  });

  it('writes nothing where nothing is kept, and that is a refusal', async () => {
    const cwd = await place({ 'site.gpg': SHA1 });
    const { code, out } = await run(['keyring', 'build', 'site.gpg', '--out', 'out', ...AT], { cwd });
    assert.equal(code, 1);
    assert.match(out, /sha1-binding +SHA-1 is the hash of what binds its user ids\.$/m);
    assert.match(out, /^REFUSED: no certificate is kept, and nothing was written\.$/m);
    assert.deepEqual(await readdir(cwd), ['site.gpg']);
  });

  it('replaces nothing', async () => {
    const cwd = await web(VOUCHED);
    await writeFile(join(cwd, 'out'), 'mine');
    const { code, out, err } = await runHere(['keyring', 'build', 'site.gpg', '--out', 'out', ...AT], {
      cwd,
    });
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /^out exists already and is not replaced/);
    assert.equal(await readFile(join(cwd, 'out'), 'utf8'), 'mine');
    assert.deepEqual((await readdir(cwd)).sort(), ['out', 'site-revoked', 'site-trusted', 'site.gpg']);
  });

  it('puts the VOA tree where it is told to', async () => {
    const cwd = await web(VOUCHED);
    const place = 'arch:rolling/image/installation-medium';
    const words = ['keyring', 'build', 'site.gpg', '--out', 'out', '--name', 'lab', '--voa', place, ...AT];
    assert.equal((await runHere(words, { cwd })).code, 0);
    assert.equal((await readdir(join(cwd, 'out/voa', place, 'openpgp'))).length, 4);
    assert.ok((await readdir(join(cwd, 'out'))).includes('lab.gpg'));
  });
});

describe('keyring check', () => {
  it('fails where something would be dropped, and writes nothing', async () => {
    const cwd = await web(VOUCHED, `${upper(SUBJECT)}\n`);
    const { code, out } = await run(['keyring', 'check', 'site.gpg', ...AT], { cwd });
    assert.equal(code, 1);
    assert.match(out, /listed-revoked +It is on the list of revoked keys\.$/m);
    assert.match(out, /^REFUSED: 3 kept, 1 dropped \(listed-revoked 1\)\.$/m);
    assert.equal((await readdir(cwd)).length, 3);
  });

  it('says that each stands for itself where there is no list', async () => {
    const cwd = await place({ 'one.gpg': UNVOUCHED });
    const { code, out, err } = await runHere(['keyring', 'check', 'one.gpg', ...AT], { cwd });
    assert.equal(code, 0);
    assert.match(err, /^one\.gpg: no list of trusted keys beside it, so each sound certificate is kept$/m);
    assert.match(out, /kept +given$/m);
  });

  it('names trusted keys that are nowhere, and files that it passed over', async () => {
    const cwd = await place({ 'site.gpg': THREE_MAINS[0] ?? '', 'site-trusted': TRUSTED, README: 'hello' });
    const { err } = await runHere(['keyring', 'check', '.', ...AT], { cwd });
    assert.match(err, new RegExp(`^${MAINS[1].key.fingerprint}: trusted, and in no source$`, 'm'));
    assert.match(err, /^README: passed over, no keyring by its name$/m);
  });

  it('judges as of the operator’s date, by the policy he names', async () => {
    const weak = MAINS.map((main) => certify(main, { hash: 'sha1' }));
    const cwd = await web(certificate(SUBJECT, userId(SUBJECT, SELF), ...weak));
    const verdict = async (...words: readonly string[]) =>
      (await runHere(['keyring', 'check', 'site.gpg', ...words], { cwd })).code;
    assert.equal(await verdict('--at', '2012-06-01'), 0);
    assert.equal(await verdict('--at', '2022-06-01'), 1);
    assert.equal(await verdict('--at', '2022-06-01', '--policy', 'sequoia'), 0);
    assert.equal(await verdict('--at', '2023-06-01', '--policy', 'sequoia'), 1);
    assert.equal(await verdict('--at', '2023-06-01', '--policy', 'apt'), 0);
    assert.equal(await verdict('--at', '2026-06-01', '--policy', 'apt'), 1);
  });

  const armored = (bytes: Uint8Array) => encodeArmor('PUBLIC KEY BLOCK', bytes);
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = THREE_MAINS;
  const wrapped: readonly [string, Readonly<Record<string, Uint8Array | string>>, string, number][] = [
    ['armor', { 'a.asc': armored(first) }, 'a.asc', 1],
    ['armor after armor', { 'a.asc': `${armored(first)}\n${armored(second)}` }, 'a.asc', 2],
    ['a folder of both kinds', { 'a.asc': armored(first), 'b.gpg': second }, '.', 2],
    ['one certificate twice', { 'a.asc': armored(first), 'b.gpg': first }, '.', 1],
  ];
  for (const [what, files, source, certificates] of wrapped) {
    it(`reads ${what}`, async () => {
      const { out } = await runHere(['keyring', 'check', source, '--json', ...AT], {
        cwd: await place(files),
      });
      assert.equal(JSON.parse(out).counts.kept, certificates);
    });
  }

  it('shows one table that nobody’s name can break', async () => {
    const name = '\u001b[31mRed\u001b[0m\nkept kept kept\u0007';
    const cwd = await place({ 'a.gpg': certificate(SUBJECT, userId(SUBJECT, SELF, name)) });
    const { out } = await runHere(['keyring', 'check', 'a.gpg', ...AT], { cwd });
    assert.doesNotMatch(out, /[\u0000-\u0009\u000b-\u001f\u007f]/);
    assert.equal(out.trimEnd().split('\n').length, 4);
  });
});

describe('a keyring that cannot be judged', () => {
  const secret = encodePacket(PACKET.secretKey, SUBJECT.body);
  const cases: readonly [string, Uint8Array | string, RegExp][] = [
    [
      'is cut short',
      VOUCHED.subarray(0, -1),
      /\[malformed\] a\.gpg is malformed: .*packet runs past the end/,
    ],
    [
      'holds a secret key',
      Buffer.concat([VOUCHED, secret]),
      /\[malformed\] a\.gpg .*a secret key among public ones/,
    ],
    ['is no keyring', 'hello\n', /\[malformed\] a\.gpg is malformed/],
    ['is empty', '', /\[absent\] a\.gpg holds no OpenPGP certificate/],
    [
      'is armor of something else',
      encodeArmor('SIGNATURE', VOUCHED),
      /\[malformed\] a\.gpg .*a SIGNATURE where/,
    ],
    ['is a signature', certify(SUBJECT), /\[malformed\] .*a signature, and no key/],
  ];
  for (const [what, bytes, says] of cases) {
    it(`is refused by name where it ${what}`, async () => {
      const cwd = await place({ 'a.gpg': bytes });
      const words = ['keyring', 'build', 'a.gpg', '--out', 'out', ...AT];
      const { code, out, err } = await runHere(words, { cwd });
      assert.deepEqual([code, out], [1, '']);
      assert.match(err, says);
      assert.deepEqual(await readdir(cwd), ['a.gpg']);
    });
  }

  it('is refused where its list of trusted keys cannot be read, not taken for one without a list', async () => {
    const cwd = await place({ 'a.gpg': VOUCHED, 'a-trusted': 'everybody\n' });
    const { code, err } = await runHere(['keyring', 'check', 'a.gpg', ...AT], { cwd });
    assert.equal(code, 1);
    assert.match(err, /\[malformed\] a-trusted is malformed: .*line 1 is no entry/);
  });

  it('is refused where it is a pipe or larger than any keyring', async () => {
    const cwd = await place({ 'large.gpg': '' });
    await truncate(join(cwd, 'large.gpg'), 128 * 2 ** 20 + 1);
    execFileSync('mkfifo', [join(cwd, 'pipe.gpg')]);
    const large = await run(['keyring', 'check', 'large.gpg', ...AT], { cwd });
    assert.match(large.err, /\[too-large\] large\.gpg is larger/);
    const pipe = await run(['keyring', 'check', 'pipe.gpg', ...AT], { cwd });
    assert.match(pipe.err, /^pipe\.gpg is neither a file nor a folder/);
  });

  const usage: readonly [string, readonly string[], RegExp][] = [
    [
      'a policy that nobody knows',
      ['check', 'a.gpg', '--policy', 'lax'],
      /--policy cannot be "lax": it is one of default, sequoia, apt\./,
    ],
    ['a threshold of none', ['check', 'a.gpg', '--marginals', '0'], /a number from 1 to 99/],
    [
      'a name that leads elsewhere',
      ['build', 'a.gpg', '--out', 'o', '--name', '../x'],
      /no name for a keyring/,
    ],
    [
      'a place that is none',
      ['build', 'a.gpg', '--out', 'o', '--voa', 'arch/../..'],
      /no place in a VOA tree/,
    ],
    [
      'an operating system that ends in a colon',
      ['build', 'a.gpg', '--out', 'o', '--voa', 'arch:/image/netboot'],
      /no place/,
    ],
    ['no source', ['check'], / must be given; --help/],
    ['no place to write to', ['build', 'a.gpg'], /--out <dir> must be given\./],
  ];
  for (const [what, words, says] of usage) {
    it(`is a matter of usage: ${what}`, async () => {
      const { code, out, err } = await runHere(['keyring', ...words], { cwd: folder });
      assert.deepEqual([code, out], [2, '']);
      assert.match(err, says);
    });
  }

  it('has no certificate that was not born yet', async () => {
    const cwd = await place({ 'a.gpg': VOUCHED });
    const before = `@${BORN / 1000 - 1}`;
    const { code, out } = await runHere(['keyring', 'check', 'a.gpg', '--at', before], { cwd });
    assert.equal(code, 1);
    assert.match(out, /not-yet-valid +It begins on 2010-01-01\.$/m);
  });
});
