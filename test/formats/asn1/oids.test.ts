import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hashByOid, hashOid, OID, signatureByOid } from '../../../src/formats/asn1/oids.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';

/** By openssl's names, which are not ours. */
const NAMES: Readonly<Record<keyof typeof OID, string>> = {
  data: 'pkcs7-data',
  signedData: 'pkcs7-signedData',
  sha1: 'sha1',
  sha224: 'sha224',
  sha256: 'sha256',
  sha384: 'sha384',
  sha512: 'sha512',
  md5: 'md5',
  rsaEncryption: 'rsaEncryption',
  sha1WithRsa: 'sha1WithRSAEncryption',
  sha256WithRsa: 'sha256WithRSAEncryption',
  sha384WithRsa: 'sha384WithRSAEncryption',
  sha512WithRsa: 'sha512WithRSAEncryption',
  rsassaPss: 'rsassaPss',
  ecPublicKey: 'id-ecPublicKey',
  prime256v1: 'prime256v1',
  secp384r1: 'secp384r1',
  ecdsaWithSha1: 'ecdsa-with-SHA1',
  ecdsaWithSha256: 'ecdsa-with-SHA256',
  ecdsaWithSha384: 'ecdsa-with-SHA384',
  ecdsaWithSha512: 'ecdsa-with-SHA512',
  commonName: 'commonName',
  subjectKeyIdentifier: 'X509v3 Subject Key Identifier',
  keyUsage: 'X509v3 Key Usage',
  subjectAltName: 'X509v3 Subject Alternative Name',
  basicConstraints: 'X509v3 Basic Constraints',
  authorityKeyIdentifier: 'X509v3 Authority Key Identifier',
  extKeyUsage: 'X509v3 Extended Key Usage',
  anyExtendedKeyUsage: 'Any Extended Key Usage',
  codeSigning: 'Code Signing',
  serverAuth: 'TLS Web Server Authentication',
  contentType: 'contentType',
  messageDigest: 'messageDigest',
  spcIndirectData: '1.3.6.1.4.1.311.2.1.4',
  spcOpusInfo: '1.3.6.1.4.1.311.2.1.12',
  spcPeImageData: '1.3.6.1.4.1.311.2.1.15',
};

describe('object identifiers', () => {
  it('mean to openssl what they mean here', async () => {
    const file = join(await temporaryFolder(), 'asn1.cnf');
    const all = Object.entries(OID);
    const fields = all.map(([, oid], index) => `f${index}=OID:${oid}\n`).join('');
    await writeFile(file, `asn1=SEQUENCE:all\n[all]\n${fields}`);
    const text = execFileSync('openssl', ['asn1parse', '-genconf', file], { encoding: 'utf8' });
    const said = [...text.matchAll(/OBJECT +:(.*)/g)].map(([, name]) => name);
    assert.deepEqual(
      all.map(([name], index) => [name, said[index]]),
      all.map(([name]) => [name, NAMES[name as keyof typeof OID]]),
    );
  });

  it('name each hash and are named by it', () => {
    for (const hash of ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const) {
      assert.equal(hashByOid(hashOid(hash)), hash);
      assert.equal(hashOid(hash), OID[hash]);
    }
    assert.equal(hashByOid(OID.sha256WithRsa), undefined);
    assert.equal(hashByOid(''), undefined);
  });

  it('give each signature algorithm its key and its hash', () => {
    for (const hash of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
      const number = hash.slice(3) as '1' | '256' | '384' | '512';
      assert.deepEqual(signatureByOid(OID[`sha${number}WithRsa`]), { key: 'rsa', hash });
      assert.deepEqual(signatureByOid(OID[`ecdsaWithSha${number}`]), { key: 'ec', hash });
    }
    // rsaEncryption carries no hash, RSASSA-PSS is not accepted.
    for (const oid of [OID.rsaEncryption, '1.2.840.113549.1.1.10', '']) {
      assert.equal(signatureByOid(oid), undefined, oid);
    }
  });
});
