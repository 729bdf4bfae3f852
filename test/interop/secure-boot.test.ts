import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { signRsaDigest } from '../../src/formats/asn1/pkcs1.ts';
import { authenticodeDigest, decodeAuthenticode } from '../../src/formats/efi/authenticode.ts';
import {
  decodeSignatureLists,
  encodeCertificateLists,
  encodeHashList,
} from '../../src/formats/efi/efi-signature-list.ts';
import {
  decodeAuthenticatedVariable,
  encodeAuthenticatedVariable,
  variableToSign,
} from '../../src/formats/efi/efi-variable.ts';
import { decodePe } from '../../src/formats/efi/pe.ts';
import { addPeSections, peSignatures, withPeSignatures } from '../../src/formats/efi/pe-write.ts';
import { attachAuthenticode, draftAuthenticode, imageDigest } from '../../src/signing/authenticode.ts';
import { verifySecureBoot } from '../../src/trust/secure-boot-check.ts';
import { CertificateMaker, type MadeCertificate } from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';

/** Debian's stub, sbsigntool, osslsigncode, efitools and objdump as judges of what we write, and we of theirs. */

const folder = await temporaryFolder();
const at = (name: string) => join(folder, name);
const maker = new CertificateMaker(folder);
const db = maker.make({ commonName: 'db.lab' });
const other = maker.make({ commonName: 'other.lab', key: 'rsa-other' });
const OWNER = '11111111-2222-3333-4444-555555555555';
const STUB = '/usr/lib/systemd/boot/efi/linuxx64.efi.stub';
const uki = Buffer.from(
  addPeSections(readFileSync(STUB), [
    { name: '.osrel', data: Buffer.from('ID=lab\n') },
    { name: '.cmdline', data: Buffer.from('console=ttyS0') },
    { name: '.initrd', data: Buffer.alloc(10_001, 3) },
    { name: '.linux', data: Buffer.alloc(20_003, 7) },
  ]),
);
const firmware = (certificate: MadeCertificate) => ({
  db: decodeSignatureLists(encodeCertificateLists([certificate.certificate], OWNER)),
  dbx: [],
});

function sign(bytes: Uint8Array, by: MadeCertificate): Uint8Array {
  const draft = draftAuthenticode(imageDigest(bytes), by.certificate, 'lab/1');
  return attachAuthenticode(bytes, draft.complete(signRsaDigest(by.privateKey, 'sha256', draft.digest)));
}

function run(tool: string, ...args: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
  return { status, said: stdout + stderr };
}

function write(name: string, bytes: Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

describe('a PE image that we write', () => {
  const path = write('uki.efi', uki);

  it('is one to objdump, with our sections as they are', () => {
    const said = execFileSync('objdump', ['-h', path], { encoding: 'utf8' });
    for (const [name, size] of [
      ['.osrel', 7],
      ['.cmdline', 13],
      ['.initrd', 10_001],
      ['.linux', 20_003],
    ] as const) {
      assert.match(said, new RegExp(`\\${name} +${size.toString(16).padStart(8, '0')} `), said);
    }
    execFileSync('objcopy', ['-O', 'binary', '--only-section=.initrd', path, at('initrd')]);
    assert.deepEqual(readFileSync(at('initrd')), Buffer.alloc(10_001, 3));
  });

  it('has the checksum that osslsigncode computes', () => {
    const signed = Buffer.from(sign(uki, db));
    // 2.5 and later versions say it in different words.
    const wrong = /PE checksum.*MISMATCH|invalid PE checksum/;
    assert.doesNotMatch(run('osslsigncode', 'verify', write('checked.efi', signed)).said, wrong);
    const { checksum } = decodePe(signed).at;
    signed.writeUInt32LE(signed.readUInt32LE(checksum) ^ 1, checksum);
    assert.match(run('osslsigncode', 'verify', write('checked.efi', signed)).said, wrong);
  });

  it('is hashed by hash-to-efi-sig-list as by us, into the list that we write', () => {
    const { said } = run('hash-to-efi-sig-list', path, at('hash.esl'));
    const digest = Buffer.from(imageDigest(uki)).toString('hex');
    assert.match(said, new RegExp(digest));
    const theirs = decodeSignatureLists(readFileSync(at('hash.esl')));
    assert.deepEqual(
      theirs.map((entry) => entry.type === 'sha256' && entry.digest),
      [digest],
    );
    const owner = theirs[0]?.owner ?? '';
    assert.deepEqual(Buffer.from(encodeHashList([digest], owner)), readFileSync(at('hash.esl')));
  });
});

describe('an Authenticode signature that we make', () => {
  const signed = sign(uki, db);
  const path = write('signed.efi', signed);

  it('is taken by sbverify with its certificate, and with no other', () => {
    assert.deepEqual(run('sbverify', '--cert', db.path, path).status, 0);
    assert.notEqual(run('sbverify', '--cert', other.path, path).status, 0);
  });

  it('is taken by osslsigncode, which says what it says', () => {
    const { status, said } = run('osslsigncode', 'verify', '-CAfile', db.path, path);
    assert.equal(status, 0, said);
    assert.match(said, /Text description: lab\/1/);
    assert.match(said, /Signature verification: ok/);
  });

  it('stands beside a second one, and sbverify takes either', () => {
    const both = write('both.efi', sign(signed, other));
    for (const certificate of [db, other]) {
      assert.equal(run('sbverify', '--cert', certificate.path, both).status, 0);
      assert.equal(
        verifySecureBoot('both', readFileSync(both), firmware(certificate)).signer,
        certificate.certificate.commonName,
      );
    }
    assert.deepEqual(imageDigest(readFileSync(both)), imageDigest(uki));
  });

  it('is the same, byte for byte, each time', () => {
    assert.deepEqual(sign(uki, db), signed);
    assert.deepEqual(attachAuthenticode(signed, peSignatures(signed, decodePe(signed))[0] ?? uki), signed);
  });

  it('is refused by sbverify and by us with any byte of the image changed', () => {
    for (const offset of [0x4e, decodePe(uki).sections.at(-1)?.rawOffset ?? 0, uki.length - 1]) {
      const changed = Buffer.from(signed);
      changed[offset] = (changed[offset] ?? 0) ^ 1;
      assert.notEqual(run('sbverify', '--cert', db.path, write('changed.efi', changed)).status, 0);
      assert.throws(() => verifySecureBoot('changed', changed, firmware(db)), { code: 'bad-signature' });
    }
  });
});

describe('what other tools sign', () => {
  it('is what we take: sbsign', () => {
    execFileSync('sbsign', ['--key', db.keyPath, '--cert', db.path, '--output', at('sb.efi'), at('uki.efi')]);
    const bytes = readFileSync(at('sb.efi'));
    assert.equal(verifySecureBoot('sb.efi', bytes, firmware(db)).signer, 'db.lab');
    assert.throws(() => verifySecureBoot('sb.efi', bytes, firmware(other)), { code: 'untrusted-signer' });
    assert.deepEqual(imageDigest(bytes), imageDigest(uki));
  });

  it('is what we take: sbsign, of an image with a section’s name in a table and a signer without a common name', () => {
    const nameless = maker.make({ commonName: '', subject: '/O=Example' });
    const image = Buffer.from(readFileSync(STUB));
    const { at: offsets, sections } = decodePe(image);
    image.fill(
      0,
      offsets.sections + 40 * (sections.length - 1),
      offsets.sections + 40 * (sections.length - 1) + 8,
    );
    image.write('/4', offsets.sections + 40 * (sections.length - 1));
    const to = at('shim-like.efi');
    execFileSync('sbsign', [
      '--key',
      nameless.keyPath,
      '--cert',
      nameless.path,
      '--output',
      to,
      write('table.efi', image),
    ]);
    assert.equal(run('sbverify', '--cert', nameless.path, to).status, 0);
    assert.equal(verifySecureBoot('shim-like', readFileSync(to), firmware(nameless)).signer, 'O=Example');
  });

  it('is what we take: osslsigncode', () => {
    const args = ['-h', 'sha256', '-certs', db.path, '-key', db.keyPath, '-n', 'of osslsigncode'];
    execFileSync('osslsigncode', ['sign', ...args, '-in', at('uki.efi'), '-out', at('ossl.efi')]);
    const bytes = readFileSync(at('ossl.efi'));
    assert.equal(verifySecureBoot('ossl.efi', bytes, firmware(db)).signer, 'db.lab');
    const [signature] = peSignatures(bytes, decodePe(bytes)).map(decodeAuthenticode);
    assert.equal(signature?.signers[0]?.program, 'of osslsigncode');
    assert.deepEqual(authenticodeDigest(bytes, decodePe(bytes), 'sha256'), imageDigest(uki));
  });

  it('is what we take: Debian’s kernel loader, signed by Debian or not at all', () => {
    const bytes = readFileSync(STUB);
    assert.deepEqual(peSignatures(bytes, decodePe(bytes)), []);
    assert.throws(() => verifySecureBoot('stub', bytes, firmware(db)), { code: 'absent' });
  });

  it('comes off with sbattach and on with us', () => {
    execFileSync('sbattach', ['--detach', at('signature'), at('signed.efi')]);
    const detached = readFileSync(at('signature'));
    const bytes = withPeSignatures(uki, decodePe(uki), [detached]);
    assert.deepEqual(Buffer.from(bytes), readFileSync(at('signed.efi')));
  });
});

describe('signature lists and authenticated variables', () => {
  it('of certificates are those of cert-to-efi-sig-list, both ways', () => {
    execFileSync('cert-to-efi-sig-list', ['-g', OWNER, db.path, at('db.esl')]);
    const theirs = readFileSync(at('db.esl'));
    assert.deepEqual(Buffer.from(encodeCertificateLists([db.certificate], OWNER)), theirs);
    const [entry] = decodeSignatureLists(theirs);
    assert.ok(entry?.type === 'x509');
    assert.equal(entry.owner, OWNER);
    assert.deepEqual(entry.certificate.raw, db.certificate.raw);
  });

  it('are read by sig-list-to-certs', () => {
    const lists = encodeCertificateLists([db.certificate, other.certificate], OWNER);
    const { status, said } = run('sig-list-to-certs', write('two.esl', lists), at('two'));
    assert.equal(status, 0, said);
    assert.deepEqual(readFileSync(at('two-0.der')), Buffer.from(db.certificate.raw));
    assert.deepEqual(readFileSync(at('two-1.der')), Buffer.from(other.certificate.raw));
  });

  it('are signed over what sign-efi-sig-list signs', () => {
    const list = encodeCertificateLists([db.certificate], OWNER);
    write('db.esl', list);
    const time = '2026-11-01 00:00:00';
    // Its -o leaves what is to be signed, for keys that are elsewhere.
    execFileSync('sign-efi-sig-list', ['-o', '-t', time, 'db', at('db.esl'), at('db.tosign')]);
    assert.deepEqual(Buffer.from(variableToSign('db', NOW, list)), readFileSync(at('db.tosign')));
    execFileSync('sign-efi-sig-list', [
      ...['-t', time, '-k', other.keyPath, '-c', other.path, 'KEK', at('db.esl'), at('KEK.auth')],
    ]);
    const theirs = decodeAuthenticatedVariable(readFileSync(at('KEK.auth')));
    assert.equal(theirs.time, NOW);
    assert.deepEqual(Buffer.from(theirs.content), Buffer.from(list));
    const [signer] = theirs.signature.signers;
    const digest = createHash('sha256')
      .update(variableToSign('KEK', NOW, list))
      .digest();
    assert.deepEqual(Buffer.from(signer?.signature ?? []), signRsaDigest(other.privateKey, 'sha256', digest));
  });

  it('hold the signature that sign-efi-sig-list makes', () => {
    const list = encodeCertificateLists([db.certificate], OWNER);
    execFileSync('sign-efi-sig-list', [
      ...['-t', '2026-11-01 00:00:00', '-k', other.keyPath, '-c', other.path],
      ...['db', write('db.esl', list), at('db.auth')],
    ]);
    const digest = createHash('sha256')
      .update(variableToSign('db', NOW, list))
      .digest();
    const { issuer, serialNumber, raw } = other.certificate;
    const signature = signRsaDigest(other.privateKey, 'sha256', digest);
    const ours = encodeAuthenticatedVariable(
      NOW,
      list,
      { issuer, serialNumber, hash: 'sha256', key: 'rsa', signature },
      raw,
    );
    const theirs = decodeAuthenticatedVariable(readFileSync(at('db.auth')));
    assert.deepEqual(decodeAuthenticatedVariable(ours).signature.signers, theirs.signature.signers);
  });
});
