import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { unwrapKeyring } from '../../../src/formats/openpgp/keyring-file.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { GnupgHome } from '../../fixtures/openpgp.ts';

const folder = await temporaryFolder();

describe('a keyring that somebody has', () => {
  const home = new GnupgHome(folder);
  after(() => home.close());
  home.run(['--quick-gen-key', 'Release <release@site.example>', 'rsa2048', 'sign', '0']);
  const binary = home.run(['--export']);
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
    ['an armored secret key', home.run(['--armor', '--export-secret-keys']), /PRIVATE KEY BLOCK where/],
    ['a text', Buffer.from('hello\n'), /no block in it/],
    ['a block that is cut', Buffer.from(armored.slice(0, 300)), /without its end/],
  ] as const) {
    it(`is not ${what}, and what is said helps`, () => {
      assert.throws(
        () => unwrapKeyring(bytes),
        (error) => error instanceof Malformed && says.test(error.message),
      );
    });
  }
});
