import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cmsCheck, imgverifyRules } from '../../src/trust/cms-check.ts';
import { answersToIpxe } from '../../src/trust/ipxe-name.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import {
  CA_EXTENSIONS,
  CertificateMaker,
  LEAF_EXTENSIONS,
  type MadeCertificate,
} from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { CONTENT } from './cms-vectors.ts';
import { judge, type Verdict } from './judge.ts';

const maker = new CertificateMaker(await temporaryFolder());
const ca = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });

function leaf(commonName: string, alternative?: string, issuer: MadeCertificate = ca): MadeCertificate {
  const extensions = alternative ? [...LEAF_EXTENSIONS, `subjectAltName=${alternative}`] : LEAF_EXTENSIONS;
  // openssl's -subj takes a bare slash for the next attribute.
  const escaped = commonName.replaceAll('/', '\\/');
  return maker.make({
    commonName: escaped,
    issuer,
    extensions,
    ...(commonName === '' ? { subject: '/O=x' } : {}),
  });
}

/** Common name, alternative name, the name asked for, and whether iPXE's x509_check_name takes it. */
const NAMES: readonly [string, string, string, boolean][] = [
  ['arch/1.0', '', 'arch/1.0', true],
  ['Arch-1.0-RC1', '', 'arch-1.0-rc1', true],
  ['arch/1.0', '', 'arch/1.0.1', false],
  ['arch/1.0.1', '', 'arch/1.0', false],
  ['é', '', 'É', false],
  ['[', '', '{', false],
  ['*.0', '', 'arch/1.0', true],
  ['*.0', '', 'arch/1.1.0', false],
  ['*.1.0', '', 'ARCH/0.1.0', true],
  ['*.0', '', 'arch', false],
  ['*.0', '', '*.0', true],
  ['a*.0', '', 'ab.0', false],
  ['*', '', 'arch', false],
  ['', '', '', true],
  ['', '', 'arch', false],
  ['other', 'DNS:arch', 'ARCH', true],
  ['other', 'DNS:one,DNS:*.0', 'arch/1.0', true],
  ['other', 'DNS:one,DNS:two', 'arch', false],
  ['other', 'email:arch@example.org', 'arch@example.org', false],
  ['other', 'URI:arch', 'arch', false],
  ['other', 'IP:10.0.0.1', '10.0.0.1', true],
  ['other', 'IP:10.0.0.8', '0xa.0.0.010', true],
  ['other', 'IP:10.0.0.1', '10.0.0.2', false],
  ['other', 'IP:10.0.0.1', '10.0.0.1.0', false],
  ['other', 'IP:fd00::1', 'fd00:0::01', true],
  ['other', 'IP:fd00::1', '[fd00::1]', true],
  ['other', 'IP:fd00::1', 'fd00::2', false],
  ['other', 'IP:fd00::1', 'arch', false],
];

describe('for iPXE', () => {
  for (const [commonName, alternative, name, verdict] of NAMES) {
    const who = `CN=${commonName}${alternative && ` and ${alternative}`}`;
    it(`${who} ${verdict ? 'is' : 'is not'} ${JSON.stringify(name)}`, () => {
      const { certificate } = leaf(commonName, alternative || undefined);
      assert.equal(answersToIpxe(certificate, name), verdict);
    });
  }
});

describe('a seal by a name that was asked for', () => {
  const stranger = maker.make({ commonName: 'CA', key: 'rsa-stranger', extensions: CA_EXTENSIONS });
  const [exact, upper, wild, alternative, other] = [
    leaf('arch/1.0'),
    leaf('ARCH/1.0'),
    leaf('*.0'),
    leaf('other', 'DNS:arch/1.0'),
    leaf('other'),
  ];
  const foreignUpper = leaf('ARCH/1.0', undefined, stranger);
  const foreignOther = leaf('other', undefined, stranger);
  const ended = maker.make({ commonName: 'other', issuer: ca, notAfter: NOW - 86_400_000 });
  const tls = maker.make({
    commonName: 'other',
    issuer: ca,
    extensions: [...LEAF_EXTENSIONS.slice(0, 2), 'extendedKeyUsage=serverAuth'],
  });
  const vectors: readonly [string, MadeCertificate[], Verdict, Verdict][] = [
    ['to the letter', [exact], 'verified', 'verified'],
    ['in other letters', [upper], 'verified', 'untrusted-signer'],
    ['by a wildcard', [wild], 'verified', 'untrusted-signer'],
    ['by an alternative name', [alternative], 'verified', 'untrusted-signer'],
    ['by none', [other], 'untrusted-signer', 'untrusted-signer'],
    ['to the letter and in other letters', [exact, upper], 'verified', 'untrusted-signer'],
    [
      'to the letter, and by a stranger in other letters',
      [exact, foreignUpper],
      'bad-signature',
      'untrusted-signer',
    ],
    ['to the letter, beside another name', [exact, other], 'verified', 'verified'],
    ['to the letter, beside another name for another purpose', [exact, tls], 'verified', 'verified'],
    ['to the letter, beside a stranger', [exact, foreignOther], 'bad-signature', 'bad-signature'],
    ['to the letter, beside one that has ended', [exact, ended], 'expired', 'expired'],
  ];
  for (const [name, signers, loose, strict] of vectors) {
    it(`${name}: ${loose} for iPXE, ${strict} for us`, async () => {
      const seal = maker.cms(CONTENT, signers, ['-noattr', '-certfile', ca.path]);
      const rules = imgverifyRules([ca.certificate], 'arch/1.0');
      const check = (exactName: boolean) =>
        judge(cmsCheck('x.sig', seal, { ...rules, exactName }, defaultPolicy(NOW), NOW), CONTENT);
      assert.equal(await check(false), loose);
      assert.equal(await check(true), strict);
    });
  }
});
