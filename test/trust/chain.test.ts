import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../src/errors/refusal.ts';
import { type ChainRules, demandCodeSigning, nameOf, verifyChain } from '../../src/trust/chain.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import {
  CA_EXTENSIONS,
  CertificateMaker,
  type CertificateWish,
  LEAF_EXTENSIONS,
  type MadeCertificate,
} from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from './judge.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const maker = new CertificateMaker(folder);
const ca = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });
const [, KEY_CERT_SIGN = ''] = CA_EXTENSIONS;
const caWith = (...extensions: string[]) => extensions.concat(KEY_CERT_SIGN, 'subjectKeyIdentifier=hash');
const ANY_DEPTH = caWith('basicConstraints=critical,CA:TRUE');
const deepCa = maker.make({ commonName: 'deep CA', key: 'rsa-ca', extensions: ANY_DEPTH });
const leafBy = (issuer: MadeCertificate, wish: Partial<CertificateWish> = {}) =>
  maker.make({ commonName: 'leaf', issuer, ...wish });
const caBy = (issuer: MadeCertificate, wish: Partial<CertificateWish> = {}) =>
  maker.make({ commonName: 'inner CA', key: 'rsa-inner', extensions: ANY_DEPTH, issuer, ...wish });

interface Vector {
  /** Leaf first, root last; what lies between comes along untrusted. */
  readonly path: readonly MadeCertificate[];
  readonly code?: RefusalCode;
  readonly fact?: RegExp;
  readonly root?: MadeCertificate;
  readonly now?: number;
  /** Where openssl, with its defaults, is content. */
  readonly opensslTakesIt?: true;
}

const inner = caBy(deepCa);
const second = maker.make({
  commonName: 'second CA',
  key: 'rsa-second',
  extensions: ANY_DEPTH,
  issuer: inner,
});
const pathlen1 = maker.make({
  commonName: 'CA of one',
  key: 'rsa-ca',
  extensions: caWith('basicConstraints=critical,CA:TRUE,pathlen:1'),
});
const innerOfOne = caBy(pathlen1);
const UNKNOWN = '1.2.3.4=critical,ASN1:UTF8String:obey';
const obeying = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: [...CA_EXTENSIONS, UNKNOWN] });
const constrained = caBy(deepCa, {
  extensions: [...ANY_DEPTH, 'nameConstraints=critical,permitted;DNS:example.org'],
});
const stranger = maker.make({ commonName: 'stranger', key: 'rsa-stranger', extensions: CA_EXTENSIONS });
const namesake = maker.make({ commonName: 'CA', key: 'rsa-stranger', extensions: CA_EXTENSIONS });
const plain = leafBy(deepCa, { commonName: 'plain', key: 'rsa-inner' });
const noSign = caBy(deepCa, {
  extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,cRLSign'],
});
const old = maker.make({
  commonName: 'old CA',
  key: 'rsa-ca',
  extensions: CA_EXTENSIONS,
  notAfter: NOW - DAY,
});
const weak = maker.make({ commonName: 'weak CA', key: 'rsa1024', extensions: CA_EXTENSIONS });
const curve = maker.make({ commonName: 'curve CA', key: 'prime192v1', extensions: CA_EXTENSIONS });
const edwards = maker.make({ commonName: 'Edwards CA', key: 'ed25519', extensions: CA_EXTENSIONS });
const p256 = maker.make({ commonName: 'P-256 CA', key: 'prime256v1', extensions: CA_EXTENSIONS });

const vectors: Readonly<Record<string, Vector>> = {
  'a leaf under its CA': { path: [leafBy(ca), ca] },
  'a leaf under a CA on P-256': { path: [leafBy(p256), p256] },
  'a leaf that is itself the anchor': { path: [ca] },
  'a leaf under two inner CAs': { path: [leafBy(second), second, inner, deepCa] },
  'as many inner CAs as the path length allows': { path: [leafBy(innerOfOne), innerOfOne, pathlen1] },
  'an unknown extension that is not critical': {
    path: [leafBy(ca, { extensions: [...LEAF_EXTENSIONS, '1.2.3.4=ASN1:UTF8String:obey'] }), ca],
  },

  'more inner CAs than the path length allows': {
    path: [leafBy(caBy(ca)), caBy(ca), ca],
    code: 'wrong-purpose',
    fact: /CA allows 0 intermediates, and there are 1/,
  },
  'two inner CAs where one is allowed': {
    path: [leafBy(second), second, maker.make({ ...wishOf('inner CA'), issuer: pathlen1 }), pathlen1],
    code: 'wrong-purpose',
    fact: /CA of one allows 1 intermediates, and there are 2/,
  },
  'an unknown critical extension in the leaf': {
    path: [leafBy(ca, { extensions: [...LEAF_EXTENSIONS, UNKNOWN] }), ca],
    code: 'wrong-purpose',
    fact: /leaf has a critical extension that is not known \(1\.2\.3\.4\)/,
  },
  'an unknown critical extension in the CA': {
    path: [leafBy(obeying), obeying],
    code: 'wrong-purpose',
    fact: /certificate CA has a critical extension/,
  },
  'critical name constraints, which iPXE does not know either': {
    path: [leafBy(constrained), constrained, deepCa],
    code: 'wrong-purpose',
    fact: /2\.5\.29\.30/,
    opensslTakesIt: true,
  },
  'a self-signed stranger': {
    path: [stranger],
    root: ca,
    code: 'untrusted-signer',
    fact: /leads to stranger, which is no trusted anchor/,
  },
  'a leaf whose issuer nobody knows': { path: [leafBy(stranger)], root: ca, code: 'untrusted-signer' },
  'a stranger who brings his own CA': {
    path: [leafBy(stranger), stranger],
    root: ca,
    code: 'untrusted-signer',
  },
  'a leaf of a CA that only has the right name': {
    path: [leafBy(namesake)],
    root: ca,
    code: 'bad-signature',
    fact: /names CA as its issuer, whose key did not sign it/,
  },
  'a self-signed CA that only has the right name': { path: [namesake], root: ca, code: 'untrusted-signer' },
  'a leaf issued by a leaf': {
    path: [leafBy(plain), plain, deepCa],
    code: 'wrong-purpose',
    fact: /plain may not issue certificates/,
  },
  'an inner CA whose key may not sign certificates': {
    path: [leafBy(noSign), noSign, deepCa],
    code: 'wrong-purpose',
    fact: /inner CA may not issue certificates/,
  },
  'a leaf that has ended': {
    path: [leafBy(ca, { notAfter: NOW - 1000 }), ca],
    code: 'expired',
    fact: /the certificate leaf ended on 2026-10-31/,
  },
  'a leaf that has not begun': {
    path: [leafBy(ca, { notBefore: NOW + 1000 }), ca],
    code: 'not-yet-valid',
    fact: /begins on 2026-11-01, and it is judged as of 2026-11-01/,
  },
  'a CA that has ended': { path: [leafBy(old), old], code: 'expired', fact: /old CA ended/ },
  'a clock at 1970': {
    path: [leafBy(ca), ca],
    now: 0,
    code: 'not-yet-valid',
    fact: /clock says 1970-01-01: set it/,
  },
  'a leaf signed with SHA-1': {
    path: [leafBy(ca, { hash: 'sha1' }), ca],
    code: 'weak-algorithm',
    fact: /uses sha1, not accepted since 2013-02-01/,
    opensslTakesIt: true,
  },
  'a leaf signed by an RSA key of 1024 bits': {
    path: [leafBy(weak), weak],
    code: 'weak-algorithm',
    fact: /RSA key of 1024 bits; 2048 are the least/,
    opensslTakesIt: true,
  },
  'a leaf signed on a curve of 192 bits': {
    path: [leafBy(curve), curve],
    code: 'weak-algorithm',
    fact: /curve that is not accepted/,
    opensslTakesIt: true,
  },
  'a leaf signed with an algorithm we do not know': {
    path: [leafBy(edwards), edwards],
    code: 'bad-signature',
    opensslTakesIt: true,
  },
};

function wishOf(commonName: string): CertificateWish {
  return { commonName, key: 'rsa-inner', extensions: ANY_DEPTH };
}

function rulesFor({ path, root, now = NOW }: Vector): ChainRules {
  const last = root ?? path[path.length - 1];
  return {
    roots: last ? [last.certificate] : [],
    intermediates: path.slice(1).map(({ certificate }) => certificate),
    margin: 0,
    now,
    policy: defaultPolicy(NOW),
  };
}

/** Whether openssl, told the same time, builds the path. */
function openssl({ path, root, now = NOW }: Vector): boolean {
  const [leaf, ...rest] = path;
  const bundle = join(folder, 'bundle.pem');
  writeFileSync(bundle, rest.map((made) => readFileSync(made.path, 'utf8')).join(''));
  const last = root ?? path[path.length - 1];
  const untrusted = rest.length > 0 ? ['-untrusted', bundle] : [];
  const args = [
    'verify',
    '-attime',
    String(now / 1000),
    '-CAfile',
    last?.path ?? '',
    ...untrusted,
    leaf?.path ?? '',
  ];
  return spawnSync('openssl', args).status === 0;
}

describe('a chain', () => {
  for (const [name, vector] of Object.entries(vectors)) {
    const { code, fact, path, opensslTakesIt } = vector;
    const leaf = path[0]?.certificate;
    it(`${code ? `is refused (${code})` : 'holds'} for ${name}`, () => {
      assert.ok(leaf);
      if (code) assert.throws(() => verifyChain(leaf, rulesFor(vector)), refused(code, fact));
      else
        assert.deepEqual(
          verifyChain(leaf, rulesFor(vector)),
          path.map(({ certificate }) => certificate),
        );
      assert.equal(openssl(vector), code === undefined || opensslTakesIt === true, "openssl's opinion");
    });
  }

  it('oversteps its dates by the margin and no further', () => {
    const leaf = leafBy(ca).certificate;
    const rules = { ...rulesFor({ path: [ca] }), margin: 1000 };
    for (const now of [leaf.notAfter + 1000, leaf.notBefore - 1000]) verifyChain(leaf, { ...rules, now });
    const late = { ...rules, now: leaf.notAfter + 1001 };
    assert.throws(() => verifyChain(leaf, late), refused('expired'));
    assert.throws(
      () => verifyChain(leaf, { ...rules, now: leaf.notBefore - 1001 }),
      refused('not-yet-valid'),
    );
  });

  it('ends where two CAs vouch for each other', () => {
    const a = maker.make({ commonName: 'A', key: 'rsa-a', extensions: ANY_DEPTH });
    const b = maker.make({ commonName: 'B', key: 'rsa-inner', extensions: ANY_DEPTH, issuer: a });
    const crossed = maker.make({ commonName: 'A', key: 'rsa-a', extensions: ANY_DEPTH, issuer: b });
    const vector = { path: [leafBy(b), b, crossed], root: ca };
    assert.throws(
      () => verifyChain(vector.path[0]?.certificate ?? ca.certificate, rulesFor(vector)),
      refused('bad-signature'),
    );
  });

  it('is eight certificates long at most', () => {
    const path = [deepCa];
    while (path.length < 9) {
      const issuer = path[0] ?? deepCa;
      path.unshift(maker.make({ ...wishOf(`CA ${path.length}`), key: 'rsa-ca', issuer }));
    }
    const [ninth, eighth] = path;
    assert.ok(ninth && eighth);
    const rules = rulesFor({ path });
    assert.equal(verifyChain(eighth.certificate, rules).length, 8);
    assert.throws(() => verifyChain(ninth.certificate, rules), refused('untrusted-signer', /longer than 8/));
  });

  it('trusts an anchor for its bytes, not for its name', () => {
    const { certificate } = namesake;
    const rules = { ...rulesFor({ path: [ca] }), intermediates: [certificate] };
    assert.throws(() => verifyChain(leafBy(namesake).certificate, rules), refused('untrusted-signer'));
  });

  it('must bring its CA along where the client only recognises anchors, as iPXE does', () => {
    const leaf = leafBy(ca).certificate;
    const rules = { ...rulesFor({ path: [ca] }), complete: true };
    assert.throws(() => verifyChain(leaf, rules), refused('untrusted-signer', /leads to CA/));
    assert.equal(verifyChain(leaf, { ...rules, intermediates: [ca.certificate] }).length, 2);
    const twin = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });
    const stuck = { ...rules, intermediates: [twin.certificate] };
    assert.throws(() => verifyChain(leaf, stuck), refused('untrusted-signer'));
  });
});

describe('a certificate that may sign code', () => {
  const [basic = '', usage = '', purpose = ''] = LEAF_EXTENSIONS;
  const cases: Readonly<Record<string, { extensions: string[]; lacks?: string }>> = {
    'has both usages': { extensions: [basic, usage, purpose] },
    'may serve TLS besides': { extensions: [basic, usage, 'extendedKeyUsage=serverAuth,codeSigning'] },
    'is no TLS server': { extensions: [basic, usage, 'extendedKeyUsage=serverAuth'], lacks: 'codeSigning' },
    'does not lack its purpose': { extensions: [basic, usage], lacks: 'codeSigning' },
    'is not for any purpose': {
      extensions: [basic, usage, 'extendedKeyUsage=anyExtendedKeyUsage'],
      lacks: 'codeSigning',
    },
    'does not lack its key usage': { extensions: [basic, purpose], lacks: 'digitalSignature' },
    'does not only sign certificates': {
      extensions: [basic, KEY_CERT_SIGN, purpose],
      lacks: 'digitalSignature',
    },
  };
  for (const [name, { extensions, lacks }] of Object.entries(cases)) {
    it(name, () => {
      const { certificate } = leafBy(ca, { extensions });
      if (!lacks) demandCodeSigning(certificate);
      else {
        assert.throws(
          () => demandCodeSigning(certificate),
          (error) =>
            refused('wrong-purpose')(error) && (error as { facts: { lacks: string } }).facts.lacks === lacks,
        );
      }
    });
  }

  it('is named by its common name, or whatever else it has', () => {
    assert.equal(nameOf(ca.certificate), 'the certificate CA');
    const nameless = maker.make({ commonName: '', subject: '/O=x' });
    assert.equal(nameOf(nameless.certificate), 'the certificate O=x');
  });
});
