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

  for (const [what, make, hint] of [
    [
      'a private key',
      () => readFileSync(made.keyPath),
      /a PRIVATE KEY where .*: certificates are for all to read/,
    ],
    ['a request', () => request(), /a CERTIFICATE REQUEST where .*: a CA has yet to sign it/],
    ['a certificate with trust beside it', () => openssl('-trustout'), /"openssl x509 -in FILE" writes it/],
    ['PKCS #7', () => pkcs7('PEM'), /a PKCS7 where .*: "openssl pkcs7 -print_certs/],
    ['PKCS #7 in DER', () => pkcs7('DER'), /PKCS #7; "openssl pkcs7 -inform DER -print_certs/],
    ['a key in DER', () => keyDer(), /a key or a PKCS #12 file; "openssl pkcs12 -nokeys/],
  ] as const) {
    it(`is told from ${what}`, () => {
      assert.throws(() => certificateBlocks(make()), hint);
    });
  }
  const request = () =>
    execFileSync('openssl', ['req', '-new', '-key', made.keyPath, '-subj', '/CN=x'], { stdio: 'pipe' });
  const pkcs7 = (form: string) =>
    execFileSync('openssl', ['crl2pkcs7', '-nocrl', '-certfile', made.path, '-outform', form]);
  const keyDer = () => execFileSync('openssl', ['pkey', '-in', made.keyPath, '-outform', 'DER']);

  it('is refused with a key in it, cut, or without any', () => {
    const key = readFileSync(made.keyPath, 'latin1');
    for (const text of [pem + key, pem.slice(0, 200), 'hello\n', '']) {
      assert.throws(() => certificateBlocks(Buffer.from(text)), Malformed);
    }
  });
});
