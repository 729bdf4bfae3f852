import assert from 'node:assert/strict';
import { chmod, copyFile, cp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { generateKey } from 'openpgp';
import { encodePem } from '../../../src/formats/asn1/armor.ts';
import { issueCertificate } from '../../../src/signing/keys/certificate.ts';
import { type Keys, readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import { type Profile, readProfile } from '../../../src/signing/keys/profiles.ts';
import { CertificateMaker } from '../../fixtures/certificates.ts';
import { type Failure, failed, misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys, NOW } from '../../fixtures/keys.ts';
import { refused } from '../../trust/judge.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const good = await makeKeys(join(folder, 'good'));
const other = await makeKeys(join(folder, 'other'), { kind: 'p256' });
const keys = await readKeyFolder(good, NOW);

/** Puts a certificate for the codesign key into place, wrong in one respect. */
async function reissue(path: string, wrong: Partial<Profile>, { ca }: Keys = keys): Promise<void> {
  const der = issueCertificate({
    profile: { ...readProfile('codesign'), ...wrong },
    commonName: 'codesign.lab',
    publicKey: keys.codesign.certificate.key.object,
    notBefore: NOW - DAY,
    notAfter: NOW + DAY,
    serial: Buffer.alloc(16, 7),
    issuer: ca.certificate,
    issuerKey: ca.privateKey,
  });
  await writeFile(join(path, 'anchors/codesign.crt'), encodePem('CERTIFICATE', der));
}

async function openpgpSecret(path: string, options: object): Promise<void> {
  const { privateKey } = await generateKey({
    userIDs: [{ name: 'x' }],
    format: 'armored',
    ...options,
  } as Parameters<typeof generateKey>[0] & { format: 'armored' });
  await writeFile(join(path, 'private/openpgp.asc'), privateKey);
}

interface Unfit {
  readonly name: string;
  readonly spoil: (path: string) => Promise<unknown>;
  readonly now?: number;
  readonly code: Failure;
  readonly says: RegExp;
}

const UNFIT: readonly Unfit[] = [
  ...[0o750, 0o705, 0o710, 0o701].map((mode) => ({
    name: `a private folder of mode ${mode.toString(8)}`,
    spoil: (path: string) => chmod(join(path, 'private'), mode),
    code: 'unsafe-keys' as const,
    says: new RegExp(`private has mode 0${mode.toString(8)}, .*run "chmod 700 \\S+/private"`),
  })),
  ...['ca.key', 'codesign.key', 'boot.key', 'openpgp.asc'].flatMap((file) =>
    [0o640, 0o604, 0o620, 0o602].map((mode) => ({
      name: `a ${file} of mode ${mode.toString(8)}`,
      spoil: (path: string) => chmod(join(path, 'private', file), mode),
      code: 'unsafe-keys' as const,
      says: new RegExp(`${file} has mode 0${mode.toString(8)}, .*run "chmod 600 `),
    })),
  ),
  {
    name: 'a key that is a link',
    spoil: async (path) => {
      await rename(join(path, 'private/ca.key'), join(path, 'ca.key'));
      await symlink('../ca.key', join(path, 'private/ca.key'));
    },
    code: 'unsafe-keys',
    says: /ca\.key is a symbolic link/,
  },
  {
    name: 'a missing key',
    spoil: (path) => rm(join(path, 'private/codesign.key')),
    code: 'usage',
    says: /codesign\.key is missing, so \S+ is only a part of a key folder/,
  },
  {
    name: 'a missing certificate',
    spoil: (path) => rm(join(path, 'anchors/boot.crt')),
    code: 'absent',
    says: /boot\.crt does not exist\./,
  },
  {
    name: 'a certificate that has ended',
    spoil: async () => {},
    now: NOW + 731 * DAY,
    code: 'expired',
    says: /codesign\.crt ended on 2028-10-31; nothing is sealed with it/,
  },
  {
    name: 'a CA that has ended',
    spoil: async () => {},
    now: NOW + 3653 * DAY,
    code: 'expired',
    says: /ca\.crt ended on 2036-10-31/,
  },
  {
    name: 'a certificate that has not begun',
    spoil: async () => {},
    now: NOW - 2 * DAY,
    code: 'not-yet-valid',
    says: /ca\.crt begins on 2026-10-31, and this machine's clock says 2026-10-30/,
  },
  {
    name: 'a leaf that may not sign',
    spoil: (path) => reissue(path, { key_usage: ['keyCertSign'] }),
    code: 'wrong-purpose',
    says: /codesign\.crt lacks the key usage digitalSignature/,
  },
  {
    name: 'a leaf that is not for code',
    spoil: (path) => reissue(path, { ext_key_usage: [] }),
    code: 'wrong-purpose',
    says: /codesign\.crt lacks the extended key usage codeSigning/,
  },
  {
    name: 'a leaf in the place of the CA',
    spoil: async (path) => {
      await copyFile(join(path, 'anchors/codesign.crt'), join(path, 'anchors/ca.crt'));
      await copyFile(join(path, 'private/codesign.key'), join(path, 'private/ca.key'));
    },
    code: 'wrong-purpose',
    says: /ca\.crt lacks the key usage keyCertSign/,
  },
  {
    name: 'a leaf by a CA of another name',
    spoil: async (path) => {
      const elsewhere = join(folder, 'elsewhere');
      await rm(elsewhere, { recursive: true, force: true });
      await makeKeys(elsewhere, { kind: 'p256', site: 'elsewhere' });
      await reissue(path, {}, await readKeyFolder(elsewhere, NOW));
    },
    code: 'untrusted-signer',
    says: /codesign\.crt was issued by .*netboot CA elsewhere.*, not by netboot CA lab/,
  },
  {
    name: 'a leaf by another CA of the same name',
    spoil: async (path) => reissue(path, {}, await readKeyFolder(other, NOW)),
    code: 'untrusted-signer',
    says: /codesign\.crt was not signed by the ca\.crt beside it/,
  },
  {
    name: 'a key of another certificate',
    spoil: (path) => copyFile(join(path, 'private/boot.key'), join(path, 'private/codesign.key')),
    code: 'unsafe-keys',
    says: /codesign\.key is not the key of \S+codesign\.crt/,
  },
  {
    name: 'a key that is nonsense',
    spoil: (path) => writeFile(join(path, 'private/boot.key'), 'top secret nonsense'),
    code: 'malformed',
    says: /boot\.key is not a private key in PEM/,
  },
  {
    name: 'a certificate that is nonsense',
    spoil: (path) => writeFile(join(path, 'anchors/codesign.crt'), 'nonsense'),
    code: 'malformed',
    says: /codesign\.crt is no certificate/,
  },
  {
    name: 'two certificates in one file',
    spoil: async (path) => {
      const [ca, leaf] = await Promise.all(
        ['ca.crt', 'codesign.crt'].map((name) => readFile(join(path, 'anchors', name), 'utf8')),
      );
      await writeFile(join(path, 'anchors/codesign.crt'), `${leaf}${ca}`);
    },
    code: 'malformed',
    says: /codesign\.crt may hold leaf certificates only, and netboot CA lab is a CA/,
  },
  {
    name: 'an OpenPGP key that is nonsense',
    spoil: (path) => writeFile(join(path, 'private/openpgp.asc'), 'nonsense'),
    code: 'malformed',
    says: /openpgp\.asc is no OpenPGP secret key/,
  },
  {
    name: 'an OpenPGP key under a passphrase',
    spoil: (path) => openpgpSecret(path, { type: 'rsa', rsaBits: 2048, passphrase: 'x' }),
    code: 'usage',
    says: /openpgp\.asc has a passphrase, and there is nobody to ask/,
  },
  {
    name: 'an OpenPGP key that GRUB does not know',
    spoil: (path) => openpgpSecret(path, { type: 'ecc' }),
    code: 'wrong-purpose',
    says: /openpgp\.asc is not an RSA key/,
  },
];

describe('a key folder is refused for', () => {
  for (const [index, { name, spoil, now = NOW, code, says }] of UNFIT.entries()) {
    it(name, async () => {
      const path = join(folder, `case-${index}`);
      await cp(good, path, { recursive: true });
      await readKeyFolder(path, NOW);
      await spoil(path);
      await assert.rejects(readKeyFolder(path, now), (error: Error) => {
        // Never a key's content.
        assert.doesNotMatch(error.message, /top secret|PRIVATE/);
        return failed(code, says)(error);
      });
    });
  }

  it('its absence', async () => {
    await assert.rejects(
      readKeyFolder(join(folder, 'none'), NOW),
      misused(/none is no key folder: .* "bootseal init DIR" makes a key folder\.$/),
    );
  });
});

it('a key folder is taken at the first and the last moment of its certificates', async () => {
  await readKeyFolder(good, NOW - DAY);
  await readKeyFolder(good, NOW + 730 * DAY);
});

describe('a CA that was made elsewhere', () => {
  const maker = new CertificateMaker(folder);
  let count = 0;

  /** A key folder under a CA with these extensions, everything by openssl. */
  async function under(...extensions: readonly string[]): Promise<string> {
    const path = join(folder, `own-${count++}`);
    await cp(good, path, { recursive: true });
    const ca = maker.make({ commonName: 'own CA', key: 'rsa-own-ca', extensions });
    const leaves = ['codesign', 'boot', 'manifest'].map(
      (name) => [name, maker.make({ commonName: `${name}.own`, key: `rsa-${name}`, issuer: ca })] as const,
    );
    for (const [name, made] of [['ca', ca] as const, ...leaves]) {
      await copyFile(made.path, join(path, `anchors/${name}.crt`));
      await copyFile(made.keyPath, join(path, `private/${name}.key`));
      await chmod(join(path, `private/${name}.key`), 0o600);
    }
    return path;
  }

  for (const [what, ...extensions] of [
    ['no extended key usage', 'basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'],
    ['no key usage', 'basicConstraints=critical,CA:TRUE'],
    ['any extended key usage', 'basicConstraints=CA:TRUE', 'extendedKeyUsage=anyExtendedKeyUsage'],
  ]) {
    it(`is taken with ${what}`, async () => {
      const { ca } = await readKeyFolder(await under(...extensions), NOW);
      assert.equal(ca.certificate.commonName, 'own CA');
    });
  }

  for (const [lacks, ...extensions] of [
    ['the key usage keyCertSign', 'basicConstraints=critical,CA:TRUE', 'keyUsage=critical,digitalSignature'],
    ['the basic constraint CA:TRUE', 'basicConstraints=critical,CA:FALSE'],
    [
      'the extended key usage codeSigning',
      'basicConstraints=critical,CA:TRUE',
      'extendedKeyUsage=serverAuth',
    ],
  ]) {
    it(`is refused without ${lacks}`, async () => {
      await assert.rejects(
        readKeyFolder(await under(...extensions), NOW),
        refused('wrong-purpose', new RegExp(`ca\\.crt lacks ${lacks}\\.$`)),
      );
    });
  }
});
