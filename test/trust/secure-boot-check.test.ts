import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { signRsaDigest } from '../../src/formats/asn1/pkcs1.ts';
import {
  authenticodeAttributes,
  decodeAuthenticode,
  encodeAuthenticode,
  encodeIndirectData,
} from '../../src/formats/efi/authenticode.ts';
import type { EfiSignature } from '../../src/formats/efi/efi-signature-list.ts';
import { decodePe } from '../../src/formats/efi/pe.ts';
import { withPeSignatures } from '../../src/formats/efi/pe-write.ts';
import { imageDigest } from '../../src/signing/authenticode.ts';
import { type SecureBootAnchors, verifySecureBoot } from '../../src/trust/secure-boot-check.ts';
import {
  CA_EXTENSIONS,
  CertificateMaker,
  LEAF_EXTENSIONS,
  type MadeCertificate,
} from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { smallPe } from '../fixtures/pe.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter } from '../formats/strict.ts';

/** What firmware would say; OVMF says the same of the same cases in e2e/secure-boot.test.ts. */

const maker = new CertificateMaker(await temporaryFolder());
const DAY = 86_400_000;
const db = maker.make({ commonName: 'db' });
const other = maker.make({ commonName: 'other', key: 'rsa-other' });
const ca = maker.make({ commonName: 'ca', key: 'rsa-ca', extensions: CA_EXTENSIONS });
const leaf = maker.make({ commonName: 'leaf', key: 'rsa-leaf', issuer: ca });
const noCa = maker.make({ commonName: 'no-ca', key: 'rsa-no-ca', extensions: LEAF_EXTENSIONS });
const underNoCa = maker.make({ commonName: 'under', key: 'rsa-leaf', issuer: noCa });
const ended = maker.make({
  commonName: 'ended',
  key: 'rsa-ended',
  notBefore: NOW - 9000 * DAY,
  notAfter: NOW - 8000 * DAY,
});

const odd = maker.make({
  commonName: 'odd',
  key: 'rsa-leaf',
  issuer: ca,
  extensions: [...LEAF_EXTENSIONS, '1.2.3.4.5=critical,ASN1:NULL'],
});
const intermediate = maker.make({
  commonName: 'intermediate',
  key: 'rsa-intermediate',
  issuer: ca,
  extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign'],
});
const tooDeep = maker.make({ commonName: 'too-deep', key: 'rsa-leaf', issuer: intermediate });
const noConstraints = maker.make({ commonName: 'v', key: 'rsa-v', extensions: ['keyUsage=keyCertSign'] });
const underNoConstraints = maker.make({ commonName: 'under-v', key: 'rsa-leaf', issuer: noConstraints });

const owner = '00000000-0000-0000-0000-000000000000';
const entry = ({ certificate }: MadeCertificate): EfiSignature => ({ owner, type: 'x509', certificate });
const ofImage = (bytes: Uint8Array): EfiSignature => ({
  owner,
  type: 'sha256',
  digest: Buffer.from(imageDigest(bytes)).toString('hex'),
});
const hashOf = ({ certificate }: MadeCertificate): EfiSignature => ({
  owner,
  type: 'x509-hash',
  hash: 'sha256',
  digest: createHash('sha256').update(certificate.tbs).digest('hex'),
  revokedFrom: 0,
});
const firmware = (
  trusted: readonly EfiSignature[],
  dbx: readonly EfiSignature[] = [],
): SecureBootAnchors => ({ db: trusted, dbx });

const plain = smallPe();
interface How {
  readonly hash?: 'sha1' | 'sha256' | 'sha384';
  readonly over?: Uint8Array;
  readonly beside?: readonly MadeCertificate[];
  readonly change?: (
    parts: Parameters<typeof encodeAuthenticode>[0],
  ) => Parameters<typeof encodeAuthenticode>[0];
}

function signature(
  by: MadeCertificate,
  { hash = 'sha256', over = plain, beside = [], change = (parts) => parts }: How = {},
) {
  const image = decodePe(over);
  const { at } = image;
  const digest = createHash(hash)
    .update(over.subarray(0, at.checksum))
    .update(over.subarray(at.checksum + 4, at.certificates))
    .update(over.subarray(at.certificates + 8))
    .digest();
  const indirectData = encodeIndirectData(hash, digest);
  const attributes = authenticodeAttributes(hash, indirectData, 'lab/1');
  const signed = signRsaDigest(by.privateKey, hash, createHash(hash).update(attributes).digest());
  const certificates = [by, ...beside].map(({ certificate }) => certificate.raw);
  return encodeAuthenticode(
    change({ hash, indirectData, attributes, signer: by.certificate, signature: signed, certificates }),
  );
}

const signed = (...signatures: Uint8Array[]) => withPeSignatures(plain, decodePe(plain), signatures);

describe('firmware with Secure Boot starts', () => {
  for (const [what, image, anchors, by] of [
    ['what a certificate of db signed', () => signed(signature(db)), firmware([entry(db)]), 'db'],
    [
      'what one of several signed, if one is known',
      () => signed(signature(other), signature(db)),
      firmware([entry(db)]),
      'db',
    ],
    ['what a leaf signed whose CA is in db', () => signed(signature(leaf)), firmware([entry(ca)]), 'ca'],
    [
      'the same with the CA beside it',
      () => signed(signature(leaf, { beside: [ca] })),
      firmware([entry(ca)]),
      'ca',
    ],
    [
      'what the leaf itself in db signed, without its CA',
      () => signed(signature(leaf)),
      firmware([entry(leaf)]),
      'leaf',
    ],
    [
      'what a certificate signed that ended long ago',
      () => signed(signature(ended)),
      firmware([entry(ended)]),
      'ended',
    ],
    [
      'what is signed with SHA-384',
      () => signed(signature(db, { hash: 'sha384' })),
      firmware([entry(db)]),
      'db',
    ],
    [
      'an image whose digest is in db, though nobody signed it',
      () => plain,
      firmware([ofImage(plain)]),
      'hash',
    ],
    [
      'the same with a signature by nobody known',
      () => signed(signature(other)),
      firmware([ofImage(plain)]),
      'hash',
    ],
  ] as readonly [string, () => Uint8Array, SecureBootAnchors, string][]) {
    it(what, () => {
      assert.equal(verifySecureBoot('image', image(), anchors).by, by);
    });
  }
});

describe('a verdict says whose certificate it is', () => {
  const snakeoil = maker.make({ commonName: '', subject: '/O=Example' });
  const spaces = maker.make({ commonName: ' ', key: 'rsa-other' });
  for (const [what, by, called] of [
    ['by all of its name where no part of it is the common one', snakeoil, 'O=Example'],
    ['by all of its name where that is blank', spaces, 'CN=\\ '],
  ] as const) {
    it(what, () => {
      const verdict = verifySecureBoot('image', signed(signature(by)), firmware([entry(by)]));
      assert.equal(verdict.signer, verdict.by);
      assert.equal(verdict.signer, called);
      assert.throws(
        () => verifySecureBoot('image', signed(signature(by)), firmware([entry(db)])),
        (error) => error instanceof Refusal && error.message.includes(`signed by ${verdict.signer}, whom`),
      );
      assert.throws(
        () => verifySecureBoot('image', signed(signature(by)), firmware([entry(by)], [entry(by)])),
        (error) => error instanceof Refusal && error.message.includes(`signed by ${verdict.signer}, and`),
      );
    });
  }

  it('and names nobody where db names the image itself', () => {
    const { by, signer } = verifySecureBoot('image', plain, firmware([ofImage(plain)]));
    assert.deepEqual([by, signer], ['hash', undefined]);
  });
});

describe('firmware with Secure Boot refuses', () => {
  const good = () => signed(signature(db));
  const known = [entry(db)];
  for (const [what, image, anchors, code] of [
    ['what nobody signed', () => plain, firmware(known), 'absent'],
    ['what an unknown key signed', () => signed(signature(other)), firmware(known), 'untrusted-signer'],
    ['a digest in dbx', good, firmware(known, [ofImage(plain)]), 'revoked'],
    ['a digest in dbx and db', good, firmware([ofImage(plain)], [ofImage(plain)]), 'revoked'],
    ['a signer in dbx', good, firmware(known, [entry(db)]), 'revoked'],
    [
      'a signer whose CA is in dbx',
      () => signed(signature(leaf, { beside: [ca] })),
      firmware([entry(leaf)], [entry(ca)]),
      'revoked',
    ],
    [
      'the same without the CA beside it',
      () => signed(signature(leaf)),
      firmware([entry(leaf)], [entry(ca)]),
      'revoked',
    ],
    [
      'a signer whose hash is in dbx',
      good,
      firmware(known, [
        {
          owner,
          type: 'x509-hash',
          hash: 'sha256',
          digest: createHash('sha256').update(db.certificate.tbs).digest('hex'),
          revokedFrom: 0,
        },
      ]),
      'revoked',
    ],
    [
      'a second signer in dbx, beside a good one',
      () => signed(signature(db), signature(other)),
      firmware(known, [entry(other)]),
      'revoked',
    ],
    [
      'a leaf under what is no CA',
      () => signed(signature(underNoCa, { beside: [noCa] })),
      firmware([entry(noCa)]),
      'untrusted-signer',
    ],
    ['SHA-1', () => signed(signature(db, { hash: 'sha1' })), firmware(known), 'weak-algorithm'],
    [
      'a signature over another image',
      () => signed(signature(db, { over: smallPe({ headers: 0x600 }) })),
      firmware(known),
      'bad-signature',
    ],
    [
      'a signature by another key under that name',
      () =>
        signed(
          signature(other, {
            change: (parts) => ({ ...parts, signer: db.certificate, certificates: [db.certificate.raw] }),
          }),
        ),
      firmware(known),
      'bad-signature',
    ],
    [
      'a signature over other attributes',
      () =>
        signed(
          signature(db, {
            change: (parts) => ({
              ...parts,
              attributes: authenticodeAttributes('sha256', parts.indirectData, 'lab/2'),
            }),
          }),
        ),
      firmware(known),
      'bad-signature',
    ],
    [
      'attributes of another content',
      () =>
        signed(
          signature(db, {
            change: (parts) => ({ ...parts, indirectData: encodeIndirectData('sha256', Buffer.alloc(32)) }),
          }),
        ),
      firmware(known),
      'bad-signature',
    ],
    [
      'a signer whose certificate is not there',
      () =>
        signed(signature(db, { change: (parts) => ({ ...parts, certificates: [other.certificate.raw] }) })),
      firmware(known),
      'untrusted-signer',
    ],
    [
      'the same where there is a dbx, since nobody can say that it is not in it',
      () =>
        signed(
          signature(db),
          signature(other, { change: (parts) => ({ ...parts, certificates: [db.certificate.raw] }) }),
        ),
      firmware(known, [ofImage(smallPe({ headers: 0x600 }))]),
      'revoked',
    ],
    [
      'a certificate of db whose hash is in dbx, though it is not inside the signature',
      () => signed(signature(leaf)),
      firmware([entry(ca)], [hashOf(ca)]),
      'revoked',
    ],
    [
      'a signature that does not hold by somebody in dbx, beside a good one',
      () => signed(signature(db), signature(other, { over: smallPe({ headers: 0x600 }) })),
      firmware(known, [hashOf(other)]),
      'revoked',
    ],
    [
      'a SHA-1 signature by somebody in dbx, beside a good one',
      () => signed(signature(db), signature(other, { hash: 'sha1' })),
      firmware(known, [entry(other)]),
      'revoked',
    ],
    [
      'a signer whose issuer is in dbx, though that one might not have issued it',
      () => signed(signature(underNoConstraints)),
      firmware([entry(underNoConstraints)], [entry(noConstraints)]),
      'revoked',
    ],
    [
      'a leaf with a critical extension that nobody knows',
      () => signed(signature(odd)),
      firmware([entry(ca)]),
      'untrusted-signer',
    ],
    [
      'a chain longer than its CA allows',
      () => signed(signature(tooDeep, { beside: [intermediate] })),
      firmware([entry(ca)]),
      'untrusted-signer',
    ],
    [
      'a program that is none for firmware',
      () => smallPe({ change: (bytes) => bytes.writeUInt16LE(3, 0x58 + 68) }),
      firmware(known),
      'malformed',
    ],
    [
      'a program for a machine of another width',
      () => smallPe({ machine: 0x14c }),
      firmware(known),
      'malformed',
    ],
    ['everything, with an empty db', good, firmware([]), 'untrusted-signer'],
  ] as readonly [string, () => Uint8Array, SecureBootAnchors, RefusalCode][]) {
    it(what, () => {
      assert.throws(
        () => verifySecureBoot('image', image(), anchors),
        (error) => {
          assert.ok(error instanceof Refusal, String(error));
          assert.equal(error.code, code, error.message);
          return true;
        },
      );
    });
  }
});

describe('an Authenticode signature', () => {
  const bytes = signature(db);

  it('is refused cut, and with anything behind it', () => {
    demandCutsRefused(decodeAuthenticode, bytes);
    demandNothingAfter(decodeAuthenticode, bytes);
  });

  it('gives no other error than that it is malformed, whatever byte is changed', () => {
    assert.ok(demandFlipsHandled(decodeAuthenticode, Buffer.from(bytes)) > 500);
  });

  it('never makes an image start with any byte of it changed', () => {
    const image = signed(bytes);
    const table = decodePe(image).certificateTable;
    assert.ok(table);
    let started = 0;
    for (let at = table.offset; at < image.length; at++) {
      const changed = Buffer.from(image);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      try {
        verifySecureBoot('image', changed, firmware([entry(db)]));
        started += 1;
      } catch (error) {
        assert.ok(error instanceof Refusal, String(error));
      }
    }
    assert.equal(started, 0);
  });
});
