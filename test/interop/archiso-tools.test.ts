import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { archisoCmsCheck, archisoOpenpgpCheck } from '../../src/emulator/early/archiso-seals.ts';
import { encodePem } from '../../src/formats/asn1/armor.ts';
import { derSequence } from '../../src/formats/asn1/der.ts';
import { canonicalName } from '../../src/formats/asn1/distinguished-name.ts';
import { decodeCertificate } from '../../src/formats/asn1/x509.ts';
import { cmsCheck, leafRules } from '../../src/trust/cms-check.ts';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../src/trust/openpgp-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { CA_EXTENSIONS, CertificateMaker, LEAF_EXTENSIONS, respelled } from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { GnupgHome } from '../fixtures/openpgp.ts';
import { judge } from '../trust/judge.ts';

/** The emulated archiso is held to the very commands of the real one, seal by seal. */

const folder = await temporaryFolder();
const CONTENT = Buffer.from('the root image\n');
const image = join(folder, 'airootfs.sfs');
writeFileSync(image, CONTENT);
const policy = defaultPolicy(NOW);

describe('archiso’s openssl and the emulated one', () => {
  const maker = new CertificateMaker(folder);
  const ca = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });
  const extensions = [...LEAF_EXTENSIONS, 'subjectKeyIdentifier=hash'];
  const issue = (commonName: string, key: string) => maker.make({ commonName, issuer: ca, extensions, key });
  const leaf = issue('codesign', 'rsa');
  const curve = issue('curve', 'prime256v1');
  const stranger = maker.make({ commonName: 'codesign', key: 'rsa-stranger', extensions });
  const held = [leaf, curve];
  const certfile = join(folder, 'codesign.crt');
  writeFileSync(certfile, Buffer.concat(held.map(({ path }) => readFileSync(path))));
  const keys = { signers: held.map(({ certificate }) => certificate), roots: [ca.certificate] };

  function openssl(seal: Uint8Array, root = ca.path): boolean {
    const path = join(folder, 'airootfs.sfs.cms.sig');
    writeFileSync(path, seal);
    const flags = ['-binary', '-noattr', '-nointern', '-purpose', 'any', '-in', path, '-content', image];
    const more = ['-inform', 'DER', '-out', '/dev/null', '-certfile', certfile, '-CAfile', root];
    const at = ['-attime', String(NOW / 1000)];
    return spawnSync('openssl', ['cms', '-verify', ...flags, ...more, ...at]).status === 0;
  }
  const ours = (seal: Uint8Array) => judge(archisoCmsCheck('x', seal, keys, policy, NOW), CONTENT);
  const other = Buffer.from('another root image\n');
  const attributes = maker.cms(CONTENT, [leaf], ['-nocerts']);
  const streamed = maker.cms(CONTENT, [leaf], ['-noattr', '-stream']);

  const FORMS: readonly [what: string, seal: Uint8Array, taken: boolean][] = [
    ['as Arch makes it', maker.cms(CONTENT, [leaf], ['-noattr', '-nocerts']), true],
    ['with signed attributes', attributes, true],
    ['with signed attributes, by ECDSA', maker.cms(CONTENT, [curve], ['-nocerts']), true],
    ['with signed attributes, over SHA-512', maker.cms(CONTENT, [leaf], ['-md', 'sha512']), true],
    ['by key identifier', maker.cms(CONTENT, [leaf], ['-noattr', '-keyid']), true],
    ['by key identifier, with attributes', maker.cms(CONTENT, [curve], ['-keyid']), true],
    ['in BER', streamed, true],
    [
      'in BER, with attributes and content inside',
      maker.cms(CONTENT, [leaf], ['-stream', '-nodetach']),
      true,
    ],
    ['by two', maker.cms(CONTENT, [leaf, curve], []), true],
    ['with a byte behind', Buffer.concat([attributes, Uint8Array.of(0)]), true],
    ['of other content, with attributes', maker.cms(other, [leaf], []), false],
    ['of other content, in BER', maker.cms(other, [leaf], ['-noattr', '-stream']), false],
    ['of other content, which is inside', maker.cms(other, [leaf], ['-nodetach']), false],
    ['by a stranger, with attributes', maker.cms(CONTENT, [stranger], []), false],
    ['by a stranger, by key identifier', maker.cms(CONTENT, [stranger], ['-keyid']), false],
    ['by two, of which one is a stranger', maker.cms(CONTENT, [leaf, stranger], []), false],
    ['cut', streamed.subarray(0, -1), false],
    ['nested without an end', Buffer.alloc(4096, Uint8Array.of(0x30, 0x80)), false],
    ['of nothing', derSequence(), false],
  ];
  for (const [what, seal, taken] of FORMS) {
    it(`agree on a seal ${what}: ${taken ? 'taken' : 'refused'}`, async () => {
      assert.deepEqual([openssl(seal), (await ours(seal)) === 'verified'], [taken, taken]);
    });
  }

  it('agree on a root whose name is written in another kind of string, which iPXE takes for another', async () => {
    const raw = respelled(ca.certificate.raw, ca.privateKey);
    const roots = [decodeCertificate(raw)];
    const seal = maker.cms(CONTENT, [leaf], ['-noattr', '-nocerts']);
    assert.notDeepEqual(roots[0]?.subject, leaf.certificate.issuer);
    assert.equal(canonicalName(roots[0]?.subject ?? raw), canonicalName(leaf.certificate.issuer));
    const path = join(folder, 'respelled.crt');
    writeFileSync(path, encodePem('CERTIFICATE', raw));
    assert.ok(openssl(seal, path));
    assert.equal(
      await judge(archisoCmsCheck('x', seal, { ...keys, roots }, policy, NOW), CONTENT),
      'verified',
    );
    const rules = leafRules(keys.signers, roots);
    assert.equal(await judge(cmsCheck('x', seal, rules, policy, NOW), CONTENT), 'untrusted-signer');
  });

  it('our own rules take none of the forms that iPXE cannot verify', async () => {
    const rules = leafRules(keys.signers, keys.roots);
    for (const seal of [attributes, streamed, maker.cms(CONTENT, [leaf], ['-noattr', '-keyid'])]) {
      assert.equal(await judge(cmsCheck('x', seal, rules, policy, NOW), CONTENT), 'malformed');
    }
  });

  it('what the emulated one takes with any byte changed, the real one takes too', async () => {
    for (const seal of [attributes, streamed]) {
      for (let at = 0; at < seal.length; at++) {
        const changed = Buffer.from(seal);
        changed[at] = (changed[at] ?? 0) ^ 1;
        if ((await ours(changed)) !== 'verified') continue;
        assert.ok(openssl(changed), `byte ${at}`);
      }
    }
  });
});

describe('archiso’s gpg and the emulated one', () => {
  const home = new GnupgHome(folder);
  const strangers = new GnupgHome(folder);
  after(() => {
    home.close();
    strangers.close();
  });
  for (const one of [home, strangers]) {
    one.run([
      '--passphrase',
      '',
      '--quick-gen-key',
      'Release <release@site.example>',
      'rsa2048',
      'sign',
      '0',
    ]);
  }
  const certificates = decodeOpenpgpCertificates(home.run(['--export']));
  const other = join(folder, 'other');
  writeFileSync(other, 'another root image\n');
  const sign = (by: GnupgHome, file: string, ...flags: string[]): Buffer =>
    by.run([...flags, '--detach-sign', '--output', '-', file]);
  const seal = join(folder, 'airootfs.sfs.sig');

  /** `gpg --status-fd 1 --verify FILE.sig | grep GOODSIG`, whatever gpg's exit status. */
  function gpg(bytes: Uint8Array): boolean {
    writeFileSync(seal, bytes);
    return /^\[GNUPG:\] GOODSIG /m.test(home.verifyBeside(seal));
  }
  const ours = (bytes: Uint8Array) =>
    judge(archisoOpenpgpCheck('x', bytes, certificates, policy, NOW), CONTENT);

  const binary = sign(home, image);
  const armored = sign(home, image, '--armor').toString();
  const foreign = sign(strangers, image);
  const wrong = sign(home, other);
  const lines = (change: (line: string) => string) => Buffer.from(armored.split('\n').map(change).join('\n'));
  const FORMS: readonly [what: string, bytes: Uint8Array, taken: boolean][] = [
    ['binary', binary, true],
    ['armored', Buffer.from(armored), true],
    ['armored, with text around', Buffer.from(`signed today:\n\n${armored}bye\n`), true],
    ['armored, with a comment', Buffer.from(armored.replace('\n\n', '\nComment: by hand\n\n')), true],
    ['armored, without a checksum', Buffer.from(armored.replace(/^=.*\n/m, '')), true],
    ['armored, with CRLF', lines((line) => `${line}\r`), true],
    ['armored, with spaces at the ends of lines', lines((line) => `${line}  `), true],
    ['armored, without a last end of line', Buffer.from(armored.trimEnd()), true],
    ['armored, with a wrong checksum', Buffer.from(armored.replace(/^=..../m, '=AAAA')), false],
    ['armored, indented', lines((line) => `  ${line}`), false],
    ['with a stranger’s behind it', Buffer.concat([binary, foreign]), true],
    ['with a stranger’s before it', Buffer.concat([foreign, binary]), true],
    ['with one that does not match before it', Buffer.concat([wrong, binary]), true],
    ['with text behind it', Buffer.concat([binary, Buffer.from('junk\n')]), true],
    ['by a stranger', foreign, false],
    ['of another file', wrong, false],
    ['of another file, armored', sign(home, other, '--armor'), false],
    ['cut', binary.subarray(0, -1), false],
  ];
  for (const [what, bytes, taken] of FORMS) {
    it(`agree on a signature ${what}: ${taken ? 'taken' : 'refused'}`, async () => {
      assert.deepEqual([gpg(bytes), (await ours(bytes)) === 'verified'], [taken, taken]);
    });
  }

  it('our own rules want one binary signature by a key that is known, and nothing else', async () => {
    for (const bytes of [Buffer.from(armored), Buffer.concat([binary, foreign])]) {
      const check = openpgpCheck('x', bytes, certificates, policy, NOW);
      assert.notEqual(await judge(check, CONTENT), 'verified');
    }
  });

  it('a message with its own content is refused, though gpg takes it for a signature of any image', async () => {
    const message = home.run(['--sign', '--compress-algo', 'none', '--output', '-', other]);
    assert.equal(gpg(message), true);
    assert.equal(await ours(message), 'malformed');
  });
});
