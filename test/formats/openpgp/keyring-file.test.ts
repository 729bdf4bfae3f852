import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { encodeArmor } from '../../../src/formats/asn1/armor.ts';
import { unwrapKeyring, whyEmpty } from '../../../src/formats/openpgp/keyring-file.ts';
import { splitTransferableKeys } from '../../../src/formats/openpgp/openpgp-transferable.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { GnupgHome } from '../../fixtures/openpgp.ts';

const folder = await temporaryFolder();

describe('a keyring that somebody has', () => {
  const home = new GnupgHome(folder);
  after(() => home.close());
  home.run(['--quick-gen-key', 'Release <release@site.example>', 'rsa2048', 'sign', '0']);
  const binary = home.run(['--export']);
  const signature = home.run(['--detach-sign'], undefined, 'content');
  /** As gpg writes it when it makes a key. */
  const revocation = (): Buffer => {
    const revocations = join(home.path, 'openpgp-revocs.d');
    return readFileSync(join(revocations, readdirSync(revocations)[0] ?? ''));
  };
  const armored = home.run(['--armor', '--export']).toString();
  for (const [what, text] of [
    ['armored', armored],
    ['armored, with text around', `Our key, as of today:\n\n${armored}\n-- \nthe release team\n`],
    ['armored, with a comment', armored.replace('\n\n', '\nComment: by hand\n\n')],
    ['armored, with CRLF', armored.replaceAll('\n', '\r\n')],
    ['armored, without a last end of line', armored.trimEnd()],
  ] as const) {
    it(`is read ${what}`, () => {
      // gpg is the judge of what it takes: a home that has none gets the key from it.
      assert.deepEqual(Buffer.concat(unwrapKeyring(Buffer.from(text))), binary);
    });
  }

  it('is read beside a certificate of X.509, as in a mail with both', () => {
    const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    assert.deepEqual(Buffer.concat(unwrapKeyring(Buffer.from(`${pem}\n${armored}`))), binary);
  });

  it("may be a keybox of gpgsm's, which is empty for a reason", () => {
    const gpgsm = new GnupgHome(folder);
    const [key, crt] = [join(gpgsm.path, 'k.pem'), join(gpgsm.path, 'c.pem')];
    const make = [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      key,
      '-subj',
      '/CN=x',
      '-out',
      crt,
    ];
    execFileSync('openssl', make, { stdio: 'pipe' });
    execFileSync('gpgsm', ['--homedir', gpgsm.path, '--batch', '--import', crt], { stdio: 'pipe' });
    gpgsm.close();
    const keybox = readFileSync(join(gpgsm.path, 'pubring.kbx'));
    assert.deepEqual(unwrapKeyring(keybox), []);
    assert.match(whyEmpty(keybox) ?? '', /a keybox of gpgsm with X\.509 certificates, and no OpenPGP key/);
    assert.equal(whyEmpty(readFileSync(join(home.path, 'pubring.kbx'))), undefined);
  });

  it('is read where several stand in one file', () => {
    assert.equal(unwrapKeyring(Buffer.from(`first\n${armored}second\n${armored}`)).length, 2);
  });

  for (const [what, bytes, says] of [
    ['keyboxd’s database', Buffer.from('SQLite format 3\0and more'), /keyboxd.*gpg --export/],
    ['a trust database', Buffer.from('\x01gpg\x03\x03\x01'), /trust database.*gpg --export/],
    [
      'a private key of GnuPG',
      Buffer.from('Created: 20261101T000000\nKey: (private-key'),
      /private key of GnuPG/,
    ],
    [
      'a private key of an older GnuPG',
      Buffer.from('(21:protected-private-key(3:rsa(1:n3:abc)'),
      /private key of GnuPG.*gpg --export/,
    ],
    ['a secret keyring', home.run(['--export-secret-keys']), /secret key among public ones.*gpg --export/],
    ['a revocation certificate', revocation(), /a revocation certificate, which GnuPG made.*gpg --export/],
    [
      'a revocation certificate without its colon',
      Buffer.from(revocation().toString().replace(/^:/m, '')),
      /a revocation certificate, which holds no key; "gpg --import"/,
    ],
    ['a list of trust', home.run(['--export-ownertrust']), /a list of trust, .* NAME-trusted/],
    [
      'a certificate of X.509',
      Buffer.from(`-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`),
      /a CERTIFICATE \(X\.509, PEM\), which is no OpenPGP key/,
    ],
    ['a signature', signature, /a signature, and no key/],
    ['an armored signature', Buffer.from(encodeArmor('SIGNATURE', signature)), /a SIGNATURE where/],
    ['an armored secret key', home.run(['--armor', '--export-secret-keys']), /PRIVATE KEY BLOCK where/],
    ['a text', Buffer.from('hello\n'), /no block in it/],
    ['a block that is cut', Buffer.from(armored.slice(0, 300)), /without its end/],
  ] as const) {
    it(`is not ${what}, and what is said helps`, () => {
      assert.throws(
        () => unwrapKeyring(bytes).flatMap((packets) => splitTransferableKeys(packets, 100)),
        (error) => error instanceof Malformed && says.test(error.message),
      );
    });
  }
});
