import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { certificateBlocks } from '../../../src/formats/asn1/certificate-file.ts';
import { CertificateMaker } from '../../fixtures/certificates.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';

const folder = await temporaryFolder();

describe('a file of certificates', () => {
  const made = new CertificateMaker(folder).make({ commonName: 'one' });
  const pem = readFileSync(made.path, 'latin1');
  const openssl = (...flags: string[]) => execFileSync('openssl', ['x509', '-in', made.path, ...flags]);
  const { raw } = made.certificate;
  for (const [what, bytes, count] of [
    ['in DER', openssl('-outform', 'DER'), 1],
    ['with its text before it', openssl('-text'), 1],
    ['with blank lines and text around', Buffer.from(`\n\nsubject=CN = one\n\n${pem}\n\nend\n`), 1],
    ['twice, with text between', Buffer.from(`${pem}issuer\n\n${pem}`), 2],
    ['with CRLF', Buffer.from(pem.replaceAll('\n', '\r\n')), 1],
    ['without a last end of line', Buffer.from(pem.trimEnd()), 1],
    ['by its old name', Buffer.from(pem.replaceAll('CERTIFICATE', 'X509 CERTIFICATE')), 1],
  ] as const) {
    it(`is read ${what}`, () => {
      const found = certificateBlocks(bytes).map((der) => Buffer.from(der));
      assert.deepEqual(found, new Array(count).fill(Buffer.from(raw)));
    });
  }

  it('is refused with a key in it, cut, or without any', () => {
    const key = readFileSync(made.keyPath, 'latin1');
    for (const text of [pem + key, pem.slice(0, 200), 'hello\n', '']) {
      assert.throws(() => certificateBlocks(Buffer.from(text)), Malformed);
    }
  });
});
