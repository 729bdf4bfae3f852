import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { chmodSync, cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { decodePem } from '../../../src/formats/asn1/armor.ts';
import { readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import { readSignatories } from '../../../src/signing/keys/public-half.ts';
import { sealRecord } from '../../../src/signing/seal-record.ts';
import { certifiedSigner } from '../../../src/signing/signatories.ts';
import { cmsCheck, imgverifyRules, leafRules } from '../../../src/trust/cms-check.ts';
import { defaultPolicy } from '../../../src/trust/policy.ts';
import { respelled } from '../../fixtures/certificates.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys } from '../../fixtures/keys.ts';
import { judge, refused } from '../../trust/judge.ts';

/**
 * A PKI that was made elsewhere, by openssl and in all the ways in which people make one: what is taken seals, openssl
 * and iPXE's rules take the seals, and what they would not take is refused before anything is sealed.
 */

const folder = await temporaryFolder();
/** openssl dates what it makes by the clock alone. */
const now = () => Math.floor(Date.now() / 1000) * 1000;
const ours = await makeKeys(join(folder, 'ours'), { now: now() });
const CONTENT = Buffer.from('content\n');
const LEAVES = ['codesign', 'boot', 'manifest'] as const;
const CA = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];
const LEAF = [
  'basicConstraints=critical,CA:FALSE',
  'keyUsage=critical,digitalSignature',
  'extendedKeyUsage=codeSigning',
];
const P256 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];

const openssl = (...args: readonly string[]): Buffer => execFileSync('openssl', args, { stdio: 'pipe' });

/** What differs from the usual: extensions, and more words for `openssl x509`. */
interface Ways {
  readonly ca?: readonly string[];
  readonly leaf?: readonly string[];
  readonly caWords?: readonly string[];
  readonly leafWords?: readonly string[];
  /** Words for `openssl genpkey`. */
  readonly key?: readonly string[];
  readonly caKey?: readonly string[];
  /** A root above the CA, by its extensions. */
  readonly root?: readonly string[];
  readonly bootSubject?: string;
}

let count = 0;
class Site {
  readonly path: string;
  readonly #at: string;

  constructor({ ca = CA, leaf = LEAF, key = P256, caKey = key, ...ways }: Ways = {}) {
    this.path = join(folder, `site-${count}`);
    this.#at = join(folder, `pki-${count++}`);
    cpSync(ours, this.path, { recursive: true });
    if (ways.root) this.#make('root', '/CN=own root', P256, ways.root, []);
    const above = ways.root ? 'root' : undefined;
    this.#make('ca', '/O=Sch\u00fcle/CN=own CA', caKey, ca, ways.caWords ?? [], above);
    for (const name of LEAVES) {
      const subject = name === 'boot' ? (ways.bootSubject ?? '/CN=boot.own') : `/CN=${name}.own`;
      this.#make(name, subject, key, leaf, ways.leafWords ?? [], 'ca');
      this.put(`anchors/${name}.crt`, this.of(`${name}.crt`));
      this.put(`private/${name}.key`, this.of(`${name}.key`));
    }
    this.put('private/ca.key', this.of('ca.key'));
    this.put('anchors/ca.crt', this.of(ways.root ? 'root.crt' : 'ca.crt'));
    if (ways.root) this.put('anchors/issuing-ca.crt', this.of('ca.crt'));
  }

  #make(
    name: string,
    subject: string,
    key: readonly string[],
    extensions: readonly string[],
    words: readonly string[],
    issuer?: string,
  ): void {
    const at = `${this.#at}.${name}`;
    openssl('genpkey', ...key, '-out', `${at}.key`);
    openssl('req', '-new', '-utf8', '-key', `${at}.key`, '-subj', subject, '-out', `${at}.csr`);
    writeFileSync(`${at}.ext`, `${extensions.join('\n')}\n`);
    const by = issuer
      ? ['-CA', `${this.#at}.${issuer}.crt`, '-CAkey', `${this.#at}.${issuer}.key`]
      : ['-signkey', `${at}.key`];
    const serial = words.includes('-set_serial') ? [] : ['-set_serial', `0x${(++count + 4096).toString(16)}`];
    const made = [
      'x509',
      '-req',
      '-in',
      `${at}.csr`,
      '-days',
      '3650',
      '-extfile',
      `${at}.ext`,
      '-out',
      `${at}.crt`,
    ];
    openssl(...made, ...by, ...serial, ...words);
  }

  of(name: string): Buffer {
    return readFileSync(`${this.#at}.${name}`);
  }

  /** What openssl makes of one of these files. */
  turned(name: string, verb: string, ...words: readonly string[]): Buffer {
    return openssl(verb, '-in', `${this.#at}.${name}`, ...words);
  }

  put(name: string, bytes: Uint8Array | string): void {
    writeFileSync(join(this.path, name), bytes, { mode: 0o600 });
    chmodSync(join(this.path, name), 0o600);
  }

  /** Every key of it seals, and everybody takes the seals. */
  async seals(): Promise<void> {
    const { ca, above, codesign, boot } = await readKeyFolder(this.path, now());
    const { ca: named } = await readSignatories(join(this.path, 'anchors'), now());
    assert.deepEqual(named.raw, ca.certificate.raw);
    const root = above.at(-1) ?? ca.certificate;
    const chain = [ca.certificate, ...above].map(({ raw }) => raw);
    const policy = defaultPolicy(now());
    for (const [name, key] of [['codesign', codesign] as const, ['boot', boot] as const]) {
      const inside = [key.certificate.raw, ...chain];
      const seal = await sealRecord(CONTENT, certifiedSigner(name, key), inside);
      const check = cmsCheck('x', seal, leafRules([key.certificate], [root]), policy, now());
      assert.equal(await judge(check, CONTENT), 'verified');
      const loader = cmsCheck('x', seal, imgverifyRules([root], key.certificate.commonName), policy, now());
      assert.equal(await judge(loader, CONTENT), 'verified');
      const [at, content] = [`${this.#at}.sig`, `${this.#at}.content`];
      writeFileSync(at, seal);
      writeFileSync(content, CONTENT);
      const top = `${this.#at}.${above.length > 0 ? 'root' : 'ca'}.crt`;
      const files = ['-in', at, '-content', content, '-certfile', `${this.#at}.${name}.crt`, '-CAfile', top];
      const flags = [
        '-binary',
        '-inform',
        'DER',
        '-purpose',
        'any',
        '-nointern',
        '-attime',
        `${now() / 1000}`,
      ];
      openssl('cms', '-verify', ...flags, ...files, '-out', '/dev/null');
    }
  }
}

const every = (site: Site, act: (name: string) => void): Site => {
  for (const name of ['ca', ...LEAVES]) act(name);
  return site;
};
const keysAs =
  (key: readonly string[], verb: string, ...words: readonly string[]) =>
  (): Site => {
    const site = new Site({ key });
    return every(site, (name) => site.put(`private/${name}.key`, site.turned(`${name}.key`, verb, ...words)));
  };
const RSA = ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'];
const PKCS8 = ['-topk8', '-nocrypt', '-outform'];

const TAKEN: readonly [what: string, make: () => Site][] = [
  ['nothing odd about it', () => new Site()],
  [
    'more purposes than the one',
    () =>
      new Site({
        leaf: [
          ...LEAF.slice(0, 2),
          'extendedKeyUsage=critical,codeSigning,emailProtection,1.3.6.1.4.1.311.10.3.13',
        ],
      }),
  ],
  [
    'no key ids',
    () =>
      new Site({
        ca: [...CA, 'subjectKeyIdentifier=none'],
        leaf: [...LEAF, 'subjectKeyIdentifier=none', 'authorityKeyIdentifier=none'],
      }),
  ],
  [
    'pointers to OCSP, lists and policies',
    () =>
      new Site({
        leaf: [
          ...LEAF,
          'certificatePolicies=1.2.3.4',
          'crlDistributionPoints=URI:http://x/c',
          'authorityInfoAccess=OCSP;URI:http://x/o',
        ],
      }),
  ],
  ['leaves without basic constraints', () => new Site({ leaf: LEAF.slice(1) })],
  [
    'negative serial numbers',
    () => new Site({ caWords: ['-set_serial', '-7'], leafWords: ['-set_serial', '-128'] }),
  ],
  ['serial numbers of zero', () => new Site({ leafWords: ['-set_serial', '0'] })],
  ['serial numbers of 31 bytes', () => new Site({ leafWords: ['-set_serial', `0x80${'11'.repeat(30)}`] })],
  ['leaves that SHA-384 certifies', () => new Site({ leafWords: ['-sha384'] })],
  ['EC leaves under an RSA CA', () => new Site({ caKey: RSA })],
  ['a root that SHA-1 signs, which nobody looks at', () => new Site({ caWords: ['-sha1'] })],
  [
    'text around PEM, blank lines and CRLF',
    () => {
      const site = new Site();
      return every(site, (name) => {
        const text = site.turned(`${name}.crt`, 'x509', '-text').toString('latin1');
        site.put(
          `anchors/${name}.crt`,
          Buffer.from(`From: CA\n\n${text}\n\n--\n`.replaceAll('\n', '\r\n'), 'latin1'),
        );
        const key = site.turned(`${name}.key`, 'pkey', '-text').toString('latin1');
        site.put(`private/${name}.key`, `Bag Attributes\r\n\r\n${key.replaceAll('\n', '\r\n')}\r\n`);
      });
    },
  ],
  [
    'certificates in DER',
    () => {
      const site = new Site();
      return every(site, (name) =>
        site.put(`anchors/${name}.crt`, site.turned(`${name}.crt`, 'x509', '-outform', 'DER')),
      );
    },
  ],
  [
    'keys and certificates in one file',
    () => {
      const site = new Site();
      return every(site, (name) =>
        site.put(`private/${name}.key`, Buffer.concat([site.of(`${name}.crt`), site.of(`${name}.key`)])),
      );
    },
  ],
  ['keys of PKCS #1', keysAs(RSA, 'rsa', '-traditional')],
  ['keys of PKCS #1 in DER', keysAs(RSA, 'rsa', '-traditional', '-outform', 'DER')],
  ['keys of PKCS #8 in DER', keysAs(RSA, 'pkcs8', ...PKCS8, 'DER')],
  ['EC keys of SEC 1', keysAs(P256, 'ec')],
  ['EC keys of SEC 1 in DER', keysAs(P256, 'ec', '-outform', 'DER')],
  ['EC keys of PKCS #8 in DER', keysAs(P256, 'pkcs8', ...PKCS8, 'DER')],
  ['a root above', () => new Site({ root: CA })],
  [
    'a root above that allows one CA',
    () => new Site({ root: ['basicConstraints=critical,CA:TRUE,pathlen:1'] }),
  ],
  ['root and CA in one file', () => withBoth('root.crt', 'ca.crt')],
  ['CA and root in one file', () => withBoth('ca.crt', 'root.crt')],
];
function withBoth(...names: readonly string[]): Site {
  const site = new Site({ root: CA });
  site.put('anchors/issuing-ca.crt', Buffer.concat(names.map((name) => site.of(name))));
  return site;
}

describe('a PKI that was made elsewhere seals with', () => {
  for (const [what, make] of TAKEN) it(what, () => make().seals());
});

const REFUSED: readonly [what: string, make: () => Site, code: RefusalCode, says: RegExp][] = [
  [
    'a CA under name constraints',
    () => new Site({ ca: [...CA, 'nameConstraints=critical,permitted;DNS:own'] }),
    'wrong-purpose',
    /ca\.crt has a critical extension \(2\.5\.29\.30\)/,
  ],
  [
    'leaves under a critical policy',
    () => new Site({ leaf: [...LEAF, 'certificatePolicies=critical,1.2.3.4'] }),
    'wrong-purpose',
    /codesign\.crt has a critical extension/,
  ],
  [
    'leaves for any purpose',
    () => new Site({ leaf: [...LEAF.slice(0, 2), 'extendedKeyUsage=anyExtendedKeyUsage'] }),
    'wrong-purpose',
    /lacks the extended key usage codeSigning/,
  ],
  [
    'leaves that SHA-1 certifies',
    () => new Site({ leafWords: ['-sha1'] }),
    'weak-algorithm',
    /The signature on \S+codesign\.crt uses sha1/,
  ],
  [
    'short keys',
    () => new Site({ key: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'] }),
    'weak-algorithm',
    /ca\.crt is by an RSA key of 1024 bits/,
  ],
  [
    'short leaves',
    () => new Site({ key: ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'], caKey: RSA }),
    'weak-algorithm',
    /codesign\.crt is by an RSA key of 1024 bits/,
  ],
  [
    'keys on P-384',
    () => new Site({ key: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'] }),
    'unsafe-keys',
    /ca\.crt is of a key \(secp384r1\)/,
  ],
  [
    'a curve without its name',
    () => new Site({ key: [...P256, '-pkeyopt', 'ec_param_enc:explicit'] }),
    'malformed',
    /a curve without a name/,
  ],
  [
    'keys for RSA-PSS',
    () => new Site({ key: ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'], caKey: RSA }),
    'unsafe-keys',
    /codesign\.crt is of a key \(rsa-pss\)/,
  ],
  [
    'leaves that RSA-PSS signs',
    () => new Site({ caKey: RSA, leafWords: ['-sha256', '-sigopt', 'rsa_padding_mode:pss'] }),
    'malformed',
    /signed with RSASSA-PSS, which iPXE does not know/,
  ],
  [
    'keys of Ed25519',
    () => new Site({ key: ['-algorithm', 'ED25519'], caKey: P256 }),
    'unsafe-keys',
    /codesign\.crt is of a key \(ed25519\)/,
  ],
  [
    'a boot leaf without a name',
    () => new Site({ bootSubject: '/O=own' }),
    'wrong-purpose',
    /boot\.crt has no common name/,
  ],
  [
    'a root that allows no CA',
    () => new Site({ root: ['basicConstraints=critical,CA:TRUE,pathlen:0'] }),
    'wrong-purpose',
    /ca\.crt allows 0 CAs below own root, and there are 1\./,
  ],
  [
    'a CA for other purposes',
    () => new Site({ root: CA, ca: ['basicConstraints=critical,CA:TRUE', 'extendedKeyUsage=serverAuth'] }),
    'wrong-purpose',
    /issuing-ca\.crt lacks/,
  ],
  [
    'a CA whose name is written in another kind of string',
    () => {
      const site = new Site();
      const [block] = decodePem(site.of('ca.crt').toString('latin1'));
      site.put(
        'anchors/ca.crt',
        respelled(block?.bytes ?? assert.fail(), createPrivateKey(site.of('ca.key'))),
      );
      return site;
    },
    'untrusted-signer',
    /not by own CA; the names read alike and are encoded in another way, and iPXE compares them byte by byte\.$/,
  ],
  [
    'a chain for a root',
    () => {
      const site = new Site({ root: CA });
      site.put('anchors/ca.crt', Buffer.concat([site.of('ca.crt'), site.of('root.crt')]));
      return site;
    },
    'malformed',
    /the root alone belongs there; the CA that issues leaves goes into issuing-ca\.crt/,
  ],
  [
    'a chain for a leaf',
    () => {
      const site = new Site();
      site.put('anchors/boot.crt', Buffer.concat([site.of('boot.crt'), site.of('ca.crt')]));
      return site;
    },
    'malformed',
    /boot\.crt holds several certificates|leaf certificates only/,
  ],
  [
    'a PKCS #12 file for a key',
    () => {
      const site = new Site();
      site.put(
        'private/boot.key',
        site.turned('boot.crt', 'pkcs12', '-export', '-nokeys', '-passout', 'pass:'),
      );
      return site;
    },
    'malformed',
    /PKCS #12 file, out of which "openssl pkcs12 -nocerts/,
  ],
];

describe('a PKI that was made elsewhere is refused with', () => {
  for (const [what, make, code, says] of REFUSED) {
    it(what, async () => {
      await assert.rejects(readKeyFolder(make().path, now()), refused(code, says));
    });
  }
});

it('a key in DER may have a passphrase', async () => {
  const site = new Site();
  site.put(
    'private/ca.key',
    site.turned('ca.key', 'pkcs8', '-topk8', '-outform', 'DER', '-passout', 'pass:right'),
  );
  const said = ['wrong', 'right'];
  await readKeyFolder(site.path, now(), undefined, { passphrase: async () => said.shift() });
  await assert.rejects(
    readKeyFolder(site.path, now(), undefined, { passphrase: async () => 'wrong' }),
    /The passphrase of \S+ca\.key was wrong\./,
  );
});
