import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeDetachedCms, encodeDetachedCms, type SignerInfo } from '../../../src/formats/asn1/cms.ts';
import {
  contextTag,
  der,
  derNull,
  derOid,
  derSequence,
  derSetOf,
  derUnsigned,
  TAG,
} from '../../../src/formats/asn1/der.ts';
import { OID } from '../../../src/formats/asn1/oids.ts';
import { CA_EXTENSIONS, CertificateMaker } from '../../fixtures/certificates.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const CONTENT = Buffer.from('what is sealed');
const ISSUER = derSequence(
  derSetOf(derSequence(derOid(OID.commonName), der(TAG.utf8String, Buffer.from('CA')))),
);
const maker = new CertificateMaker(await temporaryFolder());
const ca = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });
const leaf = maker.make({ commonName: 'leaf', issuer: ca });

const SHA256 = derSequence(derOid(OID.sha256));
const RSA = derSequence(derOid(OID.rsaEncryption), derNull());
const one = derUnsigned(Uint8Array.of(1));

interface Parts {
  contentType?: string;
  version?: Uint8Array;
  digests?: Uint8Array[];
  encapsulated?: Uint8Array;
  certificates?: Uint8Array;
  afterCertificates?: Uint8Array;
  infos?: Uint8Array[];
  afterInfos?: Uint8Array;
  afterData?: Uint8Array;
}

const NOTHING = new Uint8Array();

/** SignedData from parts; those left out are as they should be. */
function signedData(parts: Parts = {}): Uint8Array {
  const data = derSequence(
    parts.version ?? one,
    der(TAG.set, ...(parts.digests ?? [SHA256])),
    parts.encapsulated ?? derSequence(derOid(OID.data)),
    parts.certificates ?? NOTHING,
    parts.afterCertificates ?? NOTHING,
    der(TAG.set, ...(parts.infos ?? [info()])),
    parts.afterInfos ?? NOTHING,
  );
  return derSequence(
    derOid(parts.contentType ?? OID.signedData),
    der(contextTag(0, true), data, parts.afterData ?? NOTHING),
  );
}

interface InfoParts {
  version?: Uint8Array;
  sid?: Uint8Array;
  digest?: Uint8Array;
  signedAttributes?: Uint8Array;
  algorithm?: Uint8Array;
  after?: Uint8Array;
}

function info(parts: InfoParts = {}): Uint8Array {
  return derSequence(
    parts.version ?? one,
    parts.sid ?? derSequence(ISSUER, derUnsigned(Uint8Array.of(7))),
    parts.digest ?? SHA256,
    parts.signedAttributes ?? NOTHING,
    parts.algorithm ?? RSA,
    der(TAG.octetString, Buffer.alloc(4, 0xaa)),
    parts.after ?? NOTHING,
  );
}

describe('CMS', () => {
  it('reads back as it was written', () => {
    const hash = fc.constantFrom('md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512' as const);
    const octets = (length: number) => fc.uint8Array({ minLength: 1, maxLength: length });
    // Positive and negative ones, in their shortest form.
    const first = fc.integer({ min: 1, max: 0xfe });
    const serial = fc.tuple(first, octets(20)).map(([one, rest]) => Uint8Array.from([one, ...rest]));
    fc.assert(
      fc.property(hash, serial, octets(600), (name, serialNumber, signature) => {
        const signer = { issuer: ISSUER, serialNumber, hash: name, key: 'rsa', signature } as SignerInfo;
        const chain = [leaf.certificate.raw, ca.certificate.raw];
        const data = decodeDetachedCms(encodeDetachedCms(signer, chain));
        const [found, ...more] = data.signers;
        assert.deepEqual(more, []);
        assert.ok(found);
        for (const field of ['issuer', 'serialNumber', 'signature'] as const) {
          assert.equal(Buffer.compare(found[field], signer[field]), 0, field);
        }
        assert.deepEqual([found.hash, found.key], [name, 'rsa']);
        assert.deepEqual(
          new Set(data.certificates.map(({ commonName }) => commonName)),
          new Set(['leaf', 'CA']),
        );
      }),
    );
  });

  it('writes the same bytes whatever order the chain comes in', () => {
    const signer: SignerInfo = {
      issuer: ISSUER,
      serialNumber: Uint8Array.of(7),
      hash: 'sha256',
      key: 'rsa',
      signature: CONTENT,
    };
    const [a, b] = [leaf.certificate.raw, ca.certificate.raw];
    assert.deepEqual(encodeDetachedCms(signer, [a, b]), encodeDetachedCms(signer, [b, a]));
  });

  it('names ECDSA with the hashes that have a name for it', () => {
    for (const hash of ['sha256', 'sha384', 'sha512'] as const) {
      const signer = {
        issuer: ISSUER,
        serialNumber: Uint8Array.of(1),
        hash,
        key: 'ec',
        signature: CONTENT,
      } as const;
      const [found] = decodeDetachedCms(encodeDetachedCms(signer, [])).signers;
      assert.deepEqual([found?.key, found?.hash], ['ec', hash]);
      assert.throws(() => encodeDetachedCms({ ...signer, hash: 'md5' }, []), Malformed);
    }
  });

  it('by openssl holds what it was given', () => {
    const data = decodeDetachedCms(maker.cms(CONTENT, [leaf], ['-noattr', '-certfile', ca.path]));
    assert.deepEqual(data.certificates.map(({ commonName }) => commonName).sort(), ['CA', 'leaf']);
    assert.equal(data.signers.length, 1);
    assert.deepEqual(data.signers[0]?.issuer, leaf.certificate.issuer);
    assert.deepEqual(data.signers[0]?.serialNumber, leaf.certificate.serialNumber);
    const bare = decodeDetachedCms(maker.cms(CONTENT, [leaf], ['-noattr', '-nocerts', '-md', 'sha512']));
    assert.deepEqual([bare.certificates.length, bare.signers[0]?.hash], [0, 'sha512']);
  });

  it('is refused cut, continued, and never breaks the reader', () => {
    for (const flags of [['-noattr'], ['-noattr', '-nocerts']]) {
      const bytes = maker.cms(CONTENT, [leaf], flags);
      demandCutsRefused(decodeDetachedCms, bytes);
      demandNothingAfter(decodeDetachedCms, bytes);
      assert.ok(demandFlipsHandled(decodeDetachedCms, bytes) > 100);
    }
  });

  const byOpenssl: Readonly<Record<string, [string[], RegExp]>> = {
    'holds its content (eContent attached)': [['-noattr', '-nodetach'], /holds its content/],
    'has signed attributes, as openssl writes by default': [[], /signed attributes/],
    'names its signer by key identifier': [['-noattr', '-keyid'], /not named by issuer and serial/],
  };
  for (const [name, [flags, fact]] of Object.entries(byOpenssl)) {
    it(`is refused where it ${name}`, () => {
      assert.throws(() => decodeDetachedCms(maker.cms(CONTENT, [leaf], flags)), malformed(fact));
    });
  }

  const context = (number: number) => der(contextTag(number, true), derSequence());
  const vectors: Readonly<Record<string, [Parts, RegExp]>> = {
    'is enveloped data': [{ contentType: '1.2.840.113549.1.7.3' }, /not SignedData/],
    'has version 4': [{ version: derUnsigned(Uint8Array.of(4)) }, /SignedData version 4/],
    'seals something else than data': [
      { encapsulated: derSequence(derOid(OID.signedData)) },
      /content is not data/,
    ],
    'holds empty content': [
      { encapsulated: derSequence(derOid(OID.data), der(contextTag(0, true), der(TAG.octetString))) },
      /holds its content/,
    ],
    'holds revocation lists': [{ afterCertificates: context(1) }, /revocation lists/],
    'has something after its signers': [{ afterInfos: derNull() }, /trailing bytes/],
    'has something after its data': [{ afterData: derNull() }, /trailing bytes/],
    'digests with an unknown algorithm': [
      { digests: [derSequence(derOid('1.2.3'))] },
      /unknown digest algorithm 1\.2\.3/,
    ],
    'gives a digest algorithm parameters': [
      { digests: [derSequence(derOid(OID.sha256), one)] },
      /tag 0x2 where 0x5/,
    ],
    'gives a digest algorithm a NULL with content': [
      { digests: [derSequence(derOid(OID.sha256), Buffer.from('050100', 'hex'))] },
      /NULL with content/,
    ],
    'uses a digest that it did not announce': [
      { digests: [derSequence(derOid(OID.sha512))] },
      /digest algorithm sha256 not announced/,
    ],
    'has a signer of version 3': [
      { infos: [info({ version: derUnsigned(Uint8Array.of(3)) })] },
      /not named by issuer and serial/,
    ],
    'has signed attributes': [{ infos: [info({ signedAttributes: context(0) })] }, /signed attributes/],
    'has unsigned attributes': [{ infos: [info({ after: context(1) })] }, /unsigned attributes/],
    'has something after a signature': [{ infos: [info({ after: derNull() })] }, /trailing bytes/],
    'has something after a serial number': [
      { infos: [info({ sid: derSequence(ISSUER, one, one) })] },
      /IssuerAndSerialNumber: trailing/,
    ],
    'is signed with RSASSA-PSS': [
      { infos: [info({ algorithm: derSequence(derOid('1.2.840.113549.1.1.10')) })] },
      /unknown signature algorithm/,
    ],
    'names two hashes for one signature': [
      { infos: [info({ algorithm: derSequence(derOid(OID.sha1WithRsa), derNull()) })] },
      /two digest algorithms/,
    ],
    'has seventeen signers': [{ infos: Array.from({ length: 17 }, () => info()) }, /more than 16 signers/],
    'holds something else than certificates': [
      { certificates: der(contextTag(0, true), context(1)) },
      /where 0x30/,
    ],
  };
  for (const [name, [parts, fact]] of Object.entries(vectors)) {
    it(`is refused where it ${name}`, () =>
      assert.throws(() => decodeDetachedCms(signedData(parts)), malformed(fact)));
  }

  it('is not refused for its frame, its count of signers, or a NULL that is allowed', () => {
    assert.equal(decodeDetachedCms(signedData()).signers.length, 1);
    assert.equal(
      decodeDetachedCms(signedData({ infos: Array.from({ length: 16 }, () => info()) })).signers.length,
      16,
    );
    assert.equal(decodeDetachedCms(signedData({ infos: [] })).signers.length, 0);
    assert.equal(
      decodeDetachedCms(signedData({ digests: [derSequence(derOid(OID.sha256), derNull())] })).signers.length,
      1,
    );
    const named = info({ algorithm: derSequence(derOid(OID.sha256WithRsa), derNull()) });
    assert.equal(decodeDetachedCms(signedData({ infos: [named] })).signers[0]?.key, 'rsa');
  });

  it('is refused with seventeen certificates, and above 256 KiB', () => {
    const seventeen = der(contextTag(0, true), ...Array.from({ length: 17 }, () => leaf.certificate.raw));
    assert.throws(
      () => decodeDetachedCms(signedData({ certificates: seventeen })),
      malformed(/more than 16 certificates/),
    );
    assert.throws(() => decodeDetachedCms(new Uint8Array(256 * 1024 + 1)), malformed(/262145 bytes/));
  });
});
