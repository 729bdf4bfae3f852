import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { serialText } from '../../../src/formats/asn1/certificate-name.ts';
import {
  contextTag,
  DerCursor,
  der,
  derOid,
  derSequence,
  openDer,
  TAG,
} from '../../../src/formats/asn1/der.ts';
import { OID } from '../../../src/formats/asn1/oids.ts';
import { decodeCertificate } from '../../../src/formats/asn1/x509.ts';
import { issueCertificate } from '../../../src/signing/keys/certificate.ts';
import { readProfile } from '../../../src/signing/keys/profiles.ts';
import { CA_EXTENSIONS, CertificateMaker } from '../../fixtures/certificates.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { NOW } from '../../fixtures/keys.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const DAY = 86_400_000;
const maker = new CertificateMaker(await temporaryFolder());
const ca = maker.make({ commonName: 'Test CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });
const leaf = maker.make({
  commonName: 'code signer',
  subject: '/O=Somebody',
  issuer: ca,
  notBefore: NOW - DAY,
  notAfter: Date.UTC(2051, 0),
});

/** Fields of a TBSCertificate, in order. */
const FIELD = {
  version: 0,
  serial: 1,
  algorithm: 2,
  issuer: 3,
  validity: 4,
  subject: 5,
  spki: 6,
  extensions: 7,
};

/** The leaf with one field of its TBSCertificate replaced. Its signature is then wrong, which nobody asks here. */
function withField(name: keyof typeof FIELD, encoded: Uint8Array): Uint8Array {
  const outer = openDer(leaf.certificate.raw, TAG.sequence, 'Certificate');
  const tbs = openDer(outer.next().raw, TAG.sequence, 'TBSCertificate');
  const fields: Uint8Array[] = [];
  while (!tbs.done) fields.push(tbs.next().raw);
  fields[FIELD[name]] = encoded;
  return derSequence(derSequence(...fields), outer.next().raw, outer.next().raw);
}

/** The leaf with these extensions and no others. */
function withExtensions(...extensions: Uint8Array[]): Uint8Array {
  return withField('extensions', der(contextTag(3, true), derSequence(...extensions)));
}

/** One attribute of a name. */
function attribute(text: string, oid: string = OID.commonName): Uint8Array {
  return derSequence(derOid(oid), der(TAG.utf8String, Buffer.from(text)));
}

function extension(oid: string, value: string, critical = Buffer.alloc(0)): Uint8Array {
  return derSequence(
    derOid(oid),
    critical,
    der(TAG.octetString, Buffer.from(value.replaceAll(' ', ''), 'hex')),
  );
}

describe('a certificate by openssl', () => {
  it('says to us what it says to node:crypto', () => {
    for (const { certificate, path } of [ca, leaf]) {
      const judge = new X509Certificate(readFileSync(path));
      assert.equal(serialText(certificate.serialNumber).toUpperCase(), judge.serialNumber);
      assert.equal(certificate.notBefore, Date.parse(judge.validFrom));
      assert.equal(certificate.notAfter, Date.parse(judge.validTo));
      assert.equal(certificate.basicConstraints?.ca, judge.ca);
      assert.deepEqual(certificate.raw, judge.raw);
      assert.deepEqual(certificate.spki, judge.publicKey.export({ format: 'der', type: 'spki' }));
      assert.ok(certificate.key.object.equals(judge.publicKey));
      assert.equal(certificate.signatureAlgorithm, OID.sha256WithRsa);
    }
  });

  it('has the names, the purposes and the key that it was made with', () => {
    const { certificate } = leaf;
    assert.equal(certificate.commonName, 'code signer');
    assert.equal(certificate.issuerName, 'Test CA');
    assert.deepEqual(certificate.issuer, ca.certificate.subject);
    assert.deepEqual([...(certificate.keyUsage ?? [])], ['digitalSignature']);
    assert.deepEqual(certificate.extKeyUsage, [OID.codeSigning]);
    assert.deepEqual(certificate.basicConstraints, { ca: false, pathLength: undefined });
    assert.deepEqual(ca.certificate.basicConstraints, { ca: true, pathLength: 0 });
    assert.deepEqual([...(ca.certificate.keyUsage ?? [])], ['keyCertSign']);
    assert.equal(ca.certificate.subjectKeyIdentifier?.length, 20);
    assert.deepEqual([certificate.key.type, certificate.key.bits], ['rsa', 2048]);
  });

  it('has the key that it has', () => {
    const kinds: readonly [string, string, number][] = [
      ['rsa1024', 'rsa', 1024],
      ['prime256v1', 'ec', 256],
      ['secp384r1', 'ec', 384],
      ['secp256k1', 'ec', 0],
      ['ed25519', 'other', 0],
    ];
    for (const [key, type, bits] of kinds) {
      const { certificate } = maker.make({ commonName: key, key, issuer: ca });
      assert.deepEqual([certificate.key.type, certificate.key.bits], [type, bits], key);
    }
  });

  it('has every key usage by its name, in both bytes', () => {
    const all =
      'digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment,keyAgreement,keyCertSign,cRLSign,encipherOnly,decipherOnly';
    const { certificate } = maker.make({ commonName: 'all', extensions: [`keyUsage=${all}`] });
    assert.equal([...(certificate.keyUsage ?? [])].join(','), all);
    assert.equal(certificate.extensions.find(({ oid }) => oid === OID.keyUsage)?.critical, false);
    const last = maker.make({ commonName: 'last', extensions: ['keyUsage=critical,decipherOnly'] });
    assert.deepEqual([...(last.certificate.keyUsage ?? [])], ['decipherOnly']);
    assert.equal(last.certificate.extensions.find(({ oid }) => oid === OID.keyUsage)?.critical, true);
  });

  it('has the alternative names that it was made with', () => {
    const { certificate } = maker.make({
      commonName: 'x',
      extensions: ['subjectAltName=DNS:a.example,IP:10.0.0.1'],
    });
    assert.deepEqual(
      certificate.alternativeNames.map(({ tag, content }) => [tag, Buffer.from(content).toString('latin1')]),
      [
        [0x82, 'a.example'],
        [0x87, '\n\0\0\x01'],
      ],
    );
    assert.deepEqual(leaf.certificate.alternativeNames, []);
  });

  it('may lack a common name and the extensions that say purposes', () => {
    const { certificate } = maker.make({
      commonName: '',
      subject: '/O=Nobody',
      extensions: ['subjectKeyIdentifier=hash'],
    });
    assert.equal(certificate.commonName, '');
    assert.equal(certificate.keyUsage, undefined);
    assert.equal(certificate.extKeyUsage, undefined);
    assert.equal(certificate.basicConstraints, undefined);
  });

  it('is refused cut, continued, and never breaks the reader', () => {
    demandCutsRefused(decodeCertificate, leaf.certificate.raw);
    demandNothingAfter(decodeCertificate, leaf.certificate.raw);
    assert.ok(demandFlipsHandled(decodeCertificate, leaf.certificate.raw) > 500);
  });
});

describe('a certificate of ours', () => {
  it('reads back as it was issued', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const second = fc.integer({ min: 0, max: Date.UTC(2099, 0) / 1000 });
    const name = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' });
    fc.assert(
      fc.property(
        name,
        second,
        second,
        fc.constantFrom('ca', 'codesign'),
        (commonName, from, until, kind) => {
          const serial = randomBytes(16);
          const raw = issueCertificate({
            profile: readProfile(kind as 'ca'),
            commonName,
            publicKey,
            notBefore: from * 1000,
            notAfter: until * 1000,
            serial,
            issuerKey: privateKey,
          });
          const certificate = decodeCertificate(raw);
          assert.equal(certificate.commonName, commonName);
          assert.deepEqual([certificate.notBefore, certificate.notAfter], [from * 1000, until * 1000]);
          assert.deepEqual(certificate.serialNumber.subarray(1), serial.subarray(1));
          assert.equal(certificate.basicConstraints?.ca, kind === 'ca');
          assert.equal(new X509Certificate(raw).verify(publicKey), true);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('a certificate is refused', () => {
  const TRUE = Buffer.from('0101ff', 'hex');
  const vectors: Readonly<Record<string, [() => Uint8Array, RegExp]>> = {
    'of version 1, which has no purposes': [() => withField('version', Buffer.alloc(0)), /version 1, not 3/],
    'of version 4': [() => withField('version', Buffer.from('a003020103', 'hex')), /version 4, not 3/],
    'with something beside its version': [
      () => withField('version', Buffer.from('a0050201020500', 'hex')),
      /version: trailing bytes/,
    ],
    'with a serial number that is longer than it need be': [
      () => withField('serial', Buffer.from('02020001', 'hex')),
      /serialNumber: INTEGER not in its shortest form/,
    ],
    'with a negative one that is': [
      () => withField('serial', Buffer.from('0202ff80', 'hex')),
      /serialNumber: INTEGER not in its shortest form/,
    ],
    'with an empty one': [
      () => withField('serial', Buffer.from('0200', 'hex')),
      /serialNumber: empty INTEGER/,
    ],
    'with two signature algorithms': [
      () => withField('algorithm', derSequence(derOid(OID.sha1WithRsa), der(TAG.null))),
      /two signature algorithms/,
    ],
    'with a third date': [
      () => {
        const validity = new DerCursor(leaf.certificate.tbs, 'test').enter(TAG.sequence);
        for (let field = 0; field < FIELD.validity; field++) validity.next();
        const { content } = validity.next();
        return withField('validity', derSequence(content, content.subarray(0, 15)));
      },
      /Validity: trailing bytes/,
    ],
    'with a key that is none': [
      () =>
        withField(
          'spki',
          derSequence(derSequence(derOid(OID.rsaEncryption), der(TAG.null)), Buffer.from('03020000', 'hex')),
        ),
      /public key/,
    ],
    'with one extension twice': [
      () => withExtensions(extension(OID.extKeyUsage, '3000'), extension(OID.extKeyUsage, '3000')),
      /2\.5\.29\.37 twice/,
    ],
    'with a TRUE that is not 0xff': [
      () => withExtensions(extension(OID.extKeyUsage, '3000', Buffer.from('010101', 'hex'))),
      /BOOLEAN not in DER/,
    ],
    'with a FALSE that DER leaves out': [
      () => withExtensions(extension(OID.extKeyUsage, '3000', Buffer.from('010100', 'hex'))),
      /BOOLEAN not in DER/,
    ],
    'with a CA flag of two bytes, which openssl does not read': [
      () => withExtensions(extension(OID.basicConstraints, '30 04 01 02 ff 00', TRUE)),
      /basicConstraints: BOOLEAN not in DER/,
    ],
    'with a CA flag that openssl takes for TRUE and others for FALSE': [
      () => withExtensions(extension(OID.basicConstraints, '30 03 01 01 01', TRUE)),
      /basicConstraints: BOOLEAN not in DER/,
    ],
    'with something after its path length': [
      () => withExtensions(extension(OID.basicConstraints, '30 08 0101ff 020100 0500', TRUE)),
      /trailing bytes/,
    ],
    'with a negative path length': [
      () => withExtensions(extension(OID.basicConstraints, '30 06 0101ff 0201ff', TRUE)),
      /negative/,
    ],
    'with something after its key usage': [
      () => withExtensions(extension(OID.keyUsage, '03020780 0500', TRUE)),
      /trailing bytes/,
    ],
    'with a key usage of no possible form': [
      () => withExtensions(extension(OID.keyUsage, '03020880', TRUE)),
      /keyUsage/,
    ],
    'with an empty list of extensions beside another': [
      () => withField('extensions', Buffer.from('a30430003000', 'hex')),
      /trailing bytes/,
    ],
    'with fields after its extensions': [
      () => withField('extensions', Buffer.from('a3023000a3023000', 'hex')),
      /trailing bytes/,
    ],
    'with two common names, of which each reader takes another': [
      () => withField('subject', derSequence(der(TAG.set, attribute('old')), der(TAG.set, attribute('new')))),
      /a second common name/,
    ],
    'with two common names in one set': [
      () => withField('subject', derSequence(der(TAG.set, attribute('old'), attribute('new')))),
      /a second common name/,
    ],
    'with an issuer of two common names': [
      () => withField('issuer', derSequence(der(TAG.set, attribute('old')), der(TAG.set, attribute('new')))),
      /a second common name/,
    ],
    'with a common name that iPXE does not see': [
      () => withField('subject', derSequence(der(TAG.set, attribute('x', '2.5.4.10'), attribute('new')))),
      /behind another attribute/,
    ],
    'with something after its alternative names': [
      () => withExtensions(extension(OID.subjectAltName, '3000 0500')),
      /trailing bytes/,
    ],
    'with 64 KiB of names': [
      () => withField('subject', derSequence(new Uint8Array(65_536))),
      /certificate of \d+ bytes/,
    ],
  };
  for (const [name, [make, fact]] of Object.entries(vectors)) {
    it(name, () => assert.throws(() => decodeCertificate(make()), malformed(fact)));
  }

  it('but not with nothing replaced', () => {
    assert.equal(
      decodeCertificate(withField('version', Buffer.from('a003020102', 'hex'))).commonName,
      'code signer',
    );
  });
});
