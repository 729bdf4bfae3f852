import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { IoError } from '../../../src/errors/io.ts';
import { decodePackets } from '../../../src/formats/openpgp/openpgp-packet.ts';
import { readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import type { KeyKind } from '../../../src/signing/keys/key-pair.ts';
import { asNobody } from '../../files/nobody.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { openssl, run } from '../judges.ts';

// How keys are made is what is tested here.
delete process.env.BOOTSEAL_READY_KEYS;
const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys: Record<KeyKind, string> = {
  rsa: await makeKeys(join(folder, 'rsa')),
  p256: await makeKeys(join(folder, 'p256'), { kind: 'p256' }),
};
const text = (path: string) => openssl('x509', '-in', path, '-noout', '-text').stdout;
/** The lines of an extension as `openssl x509 -text` prints them, without blanks. */
function extension(path: string, name: string): string | undefined {
  return new RegExp(`X509v3 ${name}: (.*)\\n\\s*(.*)`).exec(text(path))?.slice(1).join('').trim();
}

for (const kind of ['rsa', 'p256'] as const) {
  describe(`init, ${kind}`, () => {
    const anchor = (name: string) => join(keys[kind], 'anchors', name);
    const secret = (name: string) => join(keys[kind], 'private', name);

    it('makes exactly the files that are promised, with exact modes', () => {
      const names = readdirSync(keys[kind], { recursive: true, encoding: 'utf8' }).sort();
      const modes = names.map((name) => {
        const { mode } = lstatSync(join(keys[kind], name));
        return `${(mode & 0o7777).toString(8).padStart(4, '0')} ${name}`;
      });
      assert.deepEqual(modes, [
        '0755 anchors',
        ...[
          ...['boot.crt', 'ca.crt', 'codesign.crt', 'manifest.crt', 'manifest.gpg', 'pubkey.asc'],
          ...['pubring.gpg', 'script.gpg', 'snapshot.crt'],
        ].map((name) => `0644 anchors/${name}`),
        '0700 private',
        ...[
          ...['boot.key', 'ca.key', 'codesign.key', 'manifest.key', 'openpgp-manifest.asc'],
          ...['openpgp-script.asc', 'openpgp.asc', 'snapshot.key'],
        ].map((name) => `0600 private/${name}`),
      ]);
    });

    it('makes a CA of path length 0 that issues leaves for code and nothing else', () => {
      assert.equal(extension(anchor('ca.crt'), 'Basic Constraints'), 'criticalCA:TRUE, pathlen:0');
      assert.equal(extension(anchor('ca.crt'), 'Key Usage'), 'criticalCertificate Sign');
      assert.equal(extension(anchor('ca.crt'), 'Extended Key Usage'), 'criticalCode Signing');
    });

    for (const name of ['codesign', 'boot', 'manifest']) {
      it(`makes a ${name} leaf that signs code and issues nothing`, () => {
        const path = anchor(`${name}.crt`);
        assert.equal(extension(path, 'Basic Constraints'), 'criticalCA:FALSE');
        assert.equal(extension(path, 'Key Usage'), 'criticalDigital Signature');
        assert.equal(extension(path, 'Extended Key Usage'), 'criticalCode Signing');
        assert.match(text(path), new RegExp(`Subject: CN = ${name}\\.lab\\n`));
        const judged = openssl(
          'verify',
          '-x509_strict',
          '-purpose',
          'any',
          '-CAfile',
          anchor('ca.crt'),
          path,
        );
        assert.equal(judged.stdout, `${path}: OK\n`);
      });
    }

    it('makes a snapshot certificate that is no code signer and not under the CA', () => {
      const path = anchor('snapshot.crt');
      assert.equal(extension(path, 'Extended Key Usage'), undefined);
      assert.notEqual(openssl('verify', '-purpose', 'any', '-CAfile', anchor('ca.crt'), path).status, 0);
      assert.equal(openssl('verify', '-purpose', 'any', '-check_ss_sig', '-CAfile', path, path).status, 0);
    });

    it('names no server that a verifier would ask, and constrains no names', () => {
      for (const name of ['ca', 'codesign', 'boot', 'manifest', 'snapshot']) {
        const printed = text(anchor(`${name}.crt`));
        assert.match(printed, /X509v3 extensions:/);
        assert.doesNotMatch(printed, /URI|OCSP|CRL|Authority Information|Name Constraints|Policies/);
      }
    });

    it('signs certificates with the kind of key that was asked for', () => {
      const wanted = kind === 'rsa' ? /sha256WithRSAEncryption/ : /ecdsa-with-SHA256/;
      const wantedKey = kind === 'rsa' ? /Public-Key: \(2048 bit\)/ : /ASN1 OID: prime256v1/;
      for (const name of ['ca', 'codesign', 'boot', 'manifest', 'snapshot']) {
        assert.match(text(anchor(`${name}.crt`)), wanted);
        assert.match(text(anchor(`${name}.crt`)), wantedKey);
      }
    });

    it('backdates by 24 hours and gives each its life', () => {
      const lives = { ca: 3652, codesign: 730, boot: 730, manifest: 730, snapshot: 3652 };
      for (const [name, days] of Object.entries(lives)) {
        const { validFrom, validTo } = new X509Certificate(readFileSync(anchor(`${name}.crt`)));
        assert.equal(Date.parse(validFrom), NOW - DAY);
        assert.equal(Date.parse(validTo), NOW + days * DAY);
      }
    });

    it('makes private keys that openssl reads and that fit their certificates', () => {
      for (const name of ['ca', 'codesign', 'boot', 'manifest', 'snapshot']) {
        const fromKey = openssl('pkey', '-in', secret(`${name}.key`), '-pubout').stdout;
        const fromCertificate = openssl('x509', '-in', anchor(`${name}.crt`), '-noout', '-pubkey').stdout;
        assert.match(fromKey, /BEGIN PUBLIC KEY/);
        assert.equal(fromKey, fromCertificate);
      }
    });

    it('makes an RSA OpenPGP key in headers that GRUB reads, and gpg lists it', () => {
      const listed = run('gpg', [
        '--homedir',
        keys[kind],
        '--show-keys',
        '--with-colons',
        anchor('pubring.gpg'),
      ]);
      assert.match(listed.stdout, /^pub:[^:]*:2048:1:[0-9A-F]{16}:/m);
      assert.match(listed.stdout, /^uid:.*:Bootseal lab \(netboot payload signing\):/m);
      assert.doesNotMatch(listed.stdout, /^sub:/m);
      const ring = readFileSync(anchor('pubring.gpg'));
      // RFC 9580 §4.2.2: bit 6 is clear in an old-format header.
      assert.ok(decodePackets(ring, 10).length >= 3);
      assert.equal((ring[0] ?? 0xff) & 0xc0, 0x80);
      const dearmored = run('gpg', ['--homedir', keys[kind], '--dearmor', '-o', '-', anchor('pubkey.asc')]);
      assert.equal(dearmored.status, 0);
    });

    it('makes a folder that the sealer reads', async () => {
      const { codesign, openpgp } = await readKeyFolder(keys[kind], NOW);
      assert.equal(codesign.certificate.commonName, 'codesign.lab');
      assert.equal(codesign.privateKey.asymmetricKeyType, kind === 'rsa' ? 'rsa' : 'ec');
      assert.equal(openpgp.payload.key.type, 'rsa');
    });
  });
}

it('the purpose codesign is the CA’s and its leaves’, where openssl knows it', () => {
  const purpose = openssl('version').stdout >= 'OpenSSL 3.2' ? 'codesign' : 'any';
  for (const kind of ['rsa', 'p256'] as const) {
    const [ca, leaf] = ['ca.crt', 'codesign.crt'].map((name) => join(keys[kind], 'anchors', name));
    assert.equal(openssl('verify', '-purpose', purpose, '-CAfile', ca ?? '', leaf ?? '').status, 0);
    // The same judge says no to what the certificate is not for.
    assert.notEqual(openssl('verify', '-purpose', 'sslserver', '-CAfile', ca ?? '', leaf ?? '').status, 0);
  }
});

it('two sites share no key', () => {
  const serials = ['rsa', 'p256'].flatMap((kind) =>
    ['ca', 'codesign', 'boot'].map((name) => {
      const path = join(folder, kind, 'anchors', `${name}.crt`);
      return new X509Certificate(readFileSync(path)).serialNumber;
    }),
  );
  assert.equal(new Set(serials).size, serials.length);
  for (const serial of serials) assert.match(serial, /^[4-7][0-9A-F]{31}$/);
});

describe('init leaves alone and leaves nothing', () => {
  const names = async () => (await readdir(folder)).sort();
  const make = (path: string, site = 'lab') => makeKeys(path, { kind: 'p256', site });

  it('takes an empty folder', async () => {
    await mkdir(join(folder, 'empty'));
    await make(join(folder, 'empty'));
    assert.equal((await readdir(join(folder, 'empty'))).length, 2);
  });

  it('never over keys, nor over anything else', async () => {
    const path = join(folder, 'full');
    await mkdir(path);
    await writeFile(join(path, 'note'), 'mine');
    const before = await names();
    for (const taken of [path, keys.rsa]) {
      const { mtimeNs } = await stat(taken, { bigint: true });
      await assert.rejects(make(taken), {
        name: 'UsageError',
        message: /is not empty, and keys are never overwritten; name another folder\.$/,
      });
      assert.equal((await stat(taken, { bigint: true })).mtimeNs, mtimeNs);
    }
    assert.deepEqual(await names(), before);
  });

  it('never over a file or a link', async () => {
    await writeFile(join(folder, 'file'), 'mine');
    await symlink('empty-target', join(folder, 'link'));
    const before = await names();
    for (const name of ['file', 'link']) {
      await assert.rejects(make(join(folder, name)), {
        name: 'UsageError',
        message: /is there already and is not a folder; name another place for the keys\.$/,
      });
    }
    assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'mine');
    assert.deepEqual(await names(), before);
  });

  it('of two at once one wins, whole', async () => {
    const path = join(folder, 'race');
    const results = await Promise.allSettled([make(path), make(path)]);
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    await readKeyFolder(path, NOW);
    assert.deepEqual(
      (await names()).filter((name) => name.startsWith('.')),
      [],
    );
  });

  it('where it may not write it says so, and nothing is left', async () => {
    const before = await names();
    for (const [path, says] of [
      [join(folder, 'none', 'keys'), /its folder does not exist/],
      [join(folder, 'denied'), /permission is denied/],
    ] as const) {
      await asNobody(folder, () =>
        assert.rejects(make(path), (error) => {
          assert.ok(error instanceof IoError);
          assert.match(error.message, /^Cannot write [^\n]+; nothing of it was left behind\.$/);
          assert.match(error.message, says);
          return true;
        }),
      );
    }
    assert.deepEqual(await names(), before);
  });

  it('when it fails half-way', async () => {
    const before = await names();
    const onStep = (what: string) => {
      if (what.startsWith('snapshot')) throw new Error('the operator went away');
    };
    await assert.rejects(makeKeys(join(folder, 'half'), { kind: 'p256', onStep }), /the operator went away/);
    assert.deepEqual(await names(), before);
  });

  for (const site of ['', 'Lab', '-lab', 'lab/../x', 'a b', 'x'.repeat(64), 'lab\n']) {
    it(`refuses the site name ${JSON.stringify(site)}`, async () => {
      await assert.rejects(make(join(folder, 'site'), site), {
        name: 'UsageError',
        message: /is no site name/,
      });
    });
  }
});
