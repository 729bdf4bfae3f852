import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../../src/conformance/verify.ts';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { attach } from '../../../src/operations/request.ts';
import { readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import { keySigner } from '../../../src/signing/signers/digest-signer.ts';
import {
  CA_EXTENSIONS,
  CertificateMaker,
  type CertificateWish,
  LEAF_EXTENSIONS,
} from '../../fixtures/certificates.ts';
import { NOW } from '../../fixtures/keys.ts';
import { Bundle, questionOf } from '../../fixtures/signing-request.ts';
import { copyOf, demandRefused, fresh, keys, other, whole } from './attach-site.ts';

const DAY = 86_400_000;
/** As openssl wants a slash in a subject. */
const RELEASE = 'arch\\/2026.11.01';
const maker = new CertificateMaker(join(keys, '..'));
const issuer = async (folder: string) => ({
  path: join(folder, 'anchors', 'ca.crt'),
  keyPath: join(folder, 'private', 'ca.key'),
  ...(await readKeyFolder(folder, NOW)).ca,
});
const [ca, otherCa] = await Promise.all([issuer(keys), issuer(other)]);

/** The answers as they were, but for another leaf, which signed what a leaf signs. */
async function answered(wish: Partial<CertificateWish>, signedBy?: string): Promise<string> {
  const leaf = maker.make({
    commonName: RELEASE,
    key: 'rsa-leaf',
    issuer: ca,
    notBefore: NOW - DAY,
    notAfter: NOW + 190 * DAY,
    ...wish,
  });
  const key =
    signedBy === undefined ? leaf.privateKey : maker.make({ commonName: 'x', key: signedBy }).privateKey;
  const signer = keySigner(key, 'leaf');
  const bundle = new Bundle(whole.files).set('certificates/leaf.crt', await readFile(leaf.path));
  for (const asked of bundle.index.signatures.filter(({ key: by }) => by === 'leaf')) {
    bundle.set(`${questionOf(asked)}.sig`, await signer.sign('sha256', Buffer.from(asked.digest, 'hex')));
  }
  return bundle.write(fresh('answers'));
}

const extensions = (...changed: readonly string[]) =>
  LEAF_EXTENSIONS.map((line) => changed.find((other) => other.split('=')[0] === line.split('=')[0]) ?? line);

describe('a release leaf that openssl issued', () => {
  for (const [what, wish] of [
    ['as it was ordered', {}],
    ['from the moment of issue, to the release’s end', { notBefore: NOW, notAfter: NOW + 90 * DAY }],
    [
      'with a subject key identifier',
      { extensions: [...LEAF_EXTENSIONS, 'subjectKeyIdentifier=hash', 'authorityKeyIdentifier=keyid'] },
    ],
  ] as const) {
    it(`${what} is attached, and verifies`, async () => {
      const tree = await copyOf();
      await attach({ tree, responses: [await answered(wish)] });
      const { refusal } = await verify({ tree, anchors: keys, now: NOW });
      assert.equal(refusal?.message, undefined);
    });
  }

  const wrong: readonly (readonly [string, Partial<CertificateWish>, RefusalCode, RegExp])[] = [
    ['by another CA', { issuer: otherCa }, 'untrusted-signer', /was not issued by netboot CA lab/],
    [
      'for another release',
      { commonName: 'arch\\/2026.12.01' },
      'wrong-purpose',
      /is for arch\/2026\.12\.01, and not for arch\/2026\.11\.01/,
    ],
    ['for no release', { commonName: 'boot.lab' }, 'wrong-purpose', /is for boot\.lab/],
    [
      'for TLS',
      { extensions: extensions('extendedKeyUsage=serverAuth') },
      'wrong-purpose',
      /may not sign code/,
    ],
    ['for no purpose', { extensions: LEAF_EXTENSIONS.slice(0, 2) }, 'wrong-purpose', /may not sign code/],
    [
      'for encryption',
      { extensions: extensions('keyUsage=critical,keyEncipherment') },
      'wrong-purpose',
      /may not sign/,
    ],
    [
      'that may issue others',
      { extensions: [...CA_EXTENSIONS, 'extendedKeyUsage=codeSigning'] },
      'wrong-purpose',
      /may not sign/,
    ],
    [
      'that may issue others, and sign',
      { extensions: extensions('basicConstraints=critical,CA:TRUE') },
      'wrong-purpose',
      /may not sign/,
    ],
    ['that ends before the release', { notAfter: NOW + 89 * DAY }, 'expired', /ends before the release does/],
    ['that begins after the release was issued', { notBefore: NOW + 1000 }, 'not-yet-valid', /begins after/],
    ['with a key that anybody can break', { key: 'rsa1024-leaf' }, 'weak-algorithm', /1024/],
    ['signed with SHA-1', { hash: 'sha1' }, 'weak-algorithm', /SHA-1|sha1/],
    ['of another kind than was ordered', { key: 'prime256v1-leaf' }, 'malformed', /rsa/],
    [
      'with an extension that iPXE must refuse',
      { extensions: [...LEAF_EXTENSIONS, '1.2.3.4=critical,ASN1:NULL'] },
      'wrong-purpose',
      /1\.2\.3\.4/,
    ],
  ];
  for (const [what, wish, code, fact] of wrong) {
    it(`${what} is refused`, async () => {
      await demandRefused(await copyOf(), [await answered(wish)], code, fact);
    });
  }

  it('and whose key did not sign is refused', async () => {
    await demandRefused(
      await copyOf(),
      [await answered({}, 'rsa-somebody')],
      'bad-signature',
      /vmlinuz-linux\.ipxe\.sig .* by leaf/,
    );
    const bundle = new Bundle(whole.files).set(
      'certificates/leaf.crt',
      await readFile(
        maker.make({
          commonName: RELEASE,
          key: 'rsa-leaf',
          issuer: ca,
          notBefore: NOW - DAY,
          notAfter: NOW + 190 * DAY,
        }).path,
      ),
    );
    await demandRefused(await copyOf(), [await bundle.write(fresh('answers'))], 'bad-signature', /by leaf/);
  });

  it('in a file that holds something else, or more, is refused', async () => {
    const pem = Buffer.from(whole.file('certificates/leaf.crt'));
    for (const [text, fact] of [
      ['', /leaf\.crt in .*cannot be read/],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', /cannot be read/],
      [`${pem}${pem}`, /not one CERTIFICATE/],
      [pem.toString().replaceAll('CERTIFICATE', 'PRIVATE KEY'), /not one CERTIFICATE/],
      [pem.subarray(0, 400), /cannot be read/],
    ] as const) {
      const bundle = new Bundle(whole.files).set('certificates/leaf.crt', Buffer.from(text));
      await demandRefused(await copyOf(), [await bundle.write(fresh('answers'))], 'malformed', fact);
    }
  });
});
