import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeSignatureLists } from '../../src/formats/efi/efi-signature-list.ts';
import { decodeAuthenticatedVariable } from '../../src/formats/efi/efi-variable.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { URL, ukiTree } from '../fixtures/uki.ts';
import { openssl } from '../signing/judges.ts';
import { run } from './command.ts';

const folder = await temporaryFolder();
const keys = join(folder, 'keys');
const initialised = await run(['init', keys, '--site', 'lab', '--secure-boot', '--ecdsa']);
const fixture = await makeKeys(join(folder, 'fixture'), { secureBoot: true });
const tree = await ukiTree(join(folder, 'tree'), fixture);
const image = join(tree, 'uki.efi');
const db = join(fixture, 'anchors', 'db.crt');
const made = await run(['uki', tree, '--keys', fixture, '--url', URL]);

describe('init --secure-boot', () => {
  it('says how the keys are enrolled and what that means for other systems', () => {
    assert.equal(initialised.code, 0, initialised.err);
    assert.match(initialised.out, /enrol db, then KEK, then PK/);
    assert.match(initialised.out, /PK comes last/);
    assert.match(initialised.out, /starts nothing but what your db key signed\. Windows, Debian’s shim/);
  });

  it('makes keys for everybody’s firmware: RSA 2048, self-signed, private parts 0600', async () => {
    for (const name of ['PK', 'KEK', 'db']) {
      const path = join(keys, 'anchors', `${name}.crt`);
      const text = openssl('x509', '-in', path, '-noout', '-text').stdout;
      assert.match(text, /Public-Key: \(2048 bit\)/);
      assert.match(
        text,
        new RegExp(
          `Issuer: CN = Secure Boot ${name} lab\\n[^]*Subject: CN = Secure Boot ${name} lab\\n`.replace(
            '[^]',
            '[\\s\\S]',
          ),
        ),
      );
      assert.equal((await stat(join(keys, 'private', `${name}.key`))).mode & 0o777, 0o600);
    }
  });

  it('makes files to enrol, each signed by the key above it', async () => {
    assert.deepEqual((await readdir(join(keys, 'secure-boot'))).sort(), [
      ...['KEK.auth', 'KEK.cer', 'KEK.esl', 'PK.auth', 'PK.cer', 'PK.esl', 'db.auth', 'db.cer', 'db.esl'],
      'no-PK.auth',
    ]);
    const read = (name: string) => readFileSync(join(keys, 'secure-boot', name));
    for (const [name, by] of [
      ['PK', 'PK'],
      ['KEK', 'PK'],
      ['db', 'KEK'],
    ] as const) {
      const { signature, content } = decodeAuthenticatedVariable(read(`${name}.auth`));
      assert.deepEqual(Buffer.from(content), read(`${name}.esl`));
      assert.deepEqual(
        signature.certificates.map(({ commonName }) => commonName),
        [`Secure Boot ${by} lab`],
      );
      const [entry] = decodeSignatureLists(content);
      assert.ok(entry?.type === 'x509');
      assert.deepEqual(Buffer.from(entry.certificate.raw), read(`${name}.cer`));
    }
    const none = decodeAuthenticatedVariable(read('no-PK.auth'));
    assert.equal(none.content.length, 0);
    assert.ok(
      none.time > decodeAuthenticatedVariable(read('PK.auth')).time,
      'firmware takes no older change',
    );
  });
});

describe('uki', () => {
  it('puts the image where serve finds it, and says what is in it', () => {
    assert.equal(made.code, 0, made.err);
    assert.ok(existsSync(image));
    assert.match(made.out, /^\.linux +/m);
    assert.match(made.out, /^command line: archisobasedir=arch .* bootseal\.manifest=[0-9a-f]{64}$/m);
    assert.match(made.out, /arch\/2026\.11\.01, signed by Secure Boot db lab\.$/m);
    assert.match(made.out, /^dhcp-boot=tag:bootseal-efi,uki\.efi,,10\.0\.0\.1$/m);
    assert.match(made.out, /^dhcp-option-force=tag:bootseal-http-efi,60,HTTPClient$/m);
    assert.match(
      made.out,
      /^dhcp-boot=tag:bootseal-http-efi,http:\/\/10\.0\.0\.1:8080\/uki\.efi,,10\.0\.0\.1$/m,
    );
  });

  for (const [what, words] of [
    ['nobody to sign', []],
    ['two to sign', ['--keys', fixture, '--unsigned']],
    ['a key without its certificate', ['--key', join(fixture, 'private', 'db.key')]],
    ['no address', ['--keys', fixture, '--url', 'ftp://10.0.0.1']],
  ] as const) {
    it(`with ${what} is a usage error`, async () => {
      const { code } = await run(['uki', tree, ...words]);
      assert.equal(code, 2);
    });
  }
});

describe('verify --as uefi', () => {
  it('accepts by certificate, .cer, .esl and .auth alike, and says that it looked at no date', async () => {
    const enrolment = join(fixture, 'secure-boot');
    for (const file of [db, ...['db.cer', 'db.esl', 'db.auth'].map((name) => join(enrolment, name))]) {
      const { code, out, err } = await run(['verify', image, '--as', 'uefi', '--db', file]);
      assert.equal(code, 0, err);
      assert.match(out, /^VERIFIED: .*uki\.efi, signed by Secure Boot db lab.*no date was looked at/m);
    }
    assert.equal(
      (await run(['verify', tree, '--as', 'uefi', '--anchors', join(fixture, 'anchors')])).code,
      0,
    );
  });

  it('refuses with 1 and a reason', async () => {
    const other = await run([
      'verify',
      image,
      '--as',
      'uefi',
      '--db',
      join(keys, 'anchors', 'db.crt'),
      '--json',
    ]);
    assert.equal(other.code, 1);
    assert.equal(JSON.parse(other.out).refusal.code, 'untrusted-signer');
    const revoked = await run(['verify', image, '--as', 'uefi', '--db', db, '--dbx', db]);
    assert.equal(revoked.code, 1);
    assert.match(revoked.out + revoked.err, /REFUSED: .* is in dbx\. \[revoked\]/);
  });

  for (const [what, words] of [
    ['an image without --as', [image, '--anchors', join(fixture, 'anchors')]],
    ['--db without --as', [tree, '--anchors', join(fixture, 'anchors'), '--db', db]],
    ['a time', [image, '--as', 'uefi', '--db', db, '--at', '2026-11-01']],
    ['nothing to start from', [tree]],
  ] as const) {
    it(`with ${what} is a usage error`, async () => {
      assert.equal((await run(['verify', ...words])).code, 2);
    });
  }
});

describe('request, sign-request and attach of an image', () => {
  it('give the bytes that uki with the keys at hand gives', async () => {
    const path = join(folder, 'elsewhere.efi');
    const [request, response] = [join(folder, 'request.cpio'), join(folder, 'response.cpio')];
    const steps = [
      ['uki', tree, '--unsigned', '--url', URL, '--out', path],
      ['request', path, '--anchors', join(fixture, 'anchors'), '--out', request],
      ['sign-request', request, '--keys', fixture, '--image', path, '--out', response],
      ['attach', path, response],
    ];
    for (const step of steps) {
      const { code, err } = await run(step);
      assert.equal(code, 0, `${step[0]}: ${err}`);
    }
    assert.deepEqual(readFileSync(path), readFileSync(image));
  });

  it('ask whose signature it shall be', async () => {
    assert.equal((await run(['request', image, '--out', join(folder, 'none')])).code, 2);
  });
});

describe('inspect', () => {
  it('of an image shows sections, command line and who signed, and verifies nothing', async () => {
    const { code, out } = await run(['inspect', image]);
    assert.equal(code, 0);
    assert.match(out, /uki\.efi: EFI image/);
    assert.match(out, /bootseal\.manifest=/);
    assert.match(out, /Secure Boot db lab/);
    assert.match(out, /\.initrd/);
  });

  it('of what is enrolled shows whose certificate it is and who signed', async () => {
    const auth = await run(['inspect', join(fixture, 'secure-boot', 'db.auth')]);
    assert.equal(auth.code, 0, auth.err);
    assert.match(auth.out, /Secure Boot KEK lab/);
    assert.match(auth.out, /Secure Boot db lab/);
  });
});
