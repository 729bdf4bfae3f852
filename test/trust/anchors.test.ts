import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type AnchorFiles, anchorId, decodeAnchors, decodeCertificates } from '../../src/trust/anchors.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { run } from '../signing/judges.ts';
import { refused } from './judge.ts';

const keys = await makeKeys(join(await temporaryFolder(), 'keys'));
const path = (name: string) => join(keys, 'anchors', name);
const read = (name: string) => readFileSync(path(name));
const ALL: AnchorFiles = {
  'ca.crt': read('ca.crt'),
  'codesign.crt': read('codesign.crt'),
  'boot.crt': read('boot.crt'),
  'manifest.crt': read('manifest.crt'),
  'pubring.gpg': read('pubring.gpg'),
  'script.gpg': read('script.gpg'),
  'manifest.gpg': read('manifest.gpg'),
};

describe('anchors', () => {
  it('are what the files hold', () => {
    const anchors = decodeAnchors(ALL);
    assert.deepEqual(
      anchors.ca.map(({ commonName }) => commonName),
      ['netboot CA lab'],
    );
    assert.deepEqual(
      anchors.codesign.map(({ commonName }) => commonName),
      ['codesign.lab'],
    );
    assert.equal(anchors.bootSigner, 'boot.lab');
    for (const ring of Object.values(anchors.openpgp)) {
      assert.equal(ring.length, 1);
      assert.equal(ring[0]?.keys[0]?.maySign, true);
    }
  });

  it('need no more than a CA', () => {
    const anchors = decodeAnchors({ 'ca.crt': ALL['ca.crt'] });
    assert.deepEqual(
      [anchors.codesign, anchors.bootSigner, anchors.openpgp],
      [[], undefined, { payload: [], script: [], manifest: [] }],
    );
  });

  it('may be several CAs while one is being replaced', () => {
    const two = Buffer.concat([read('ca.crt'), read('snapshot.crt')]);
    assert.equal(decodeAnchors({ 'ca.crt': two }).ca.length, 2);
  });

  const DER = Buffer.from(
    read('ca.crt')
      .toString()
      .replace(/-----.*?-----|\n/g, ''),
    'base64',
  );
  const cases: Readonly<Record<string, [Partial<AnchorFiles>, RegExp]>> = {
    'an empty CA file': [{ 'ca.crt': Buffer.alloc(0) }, /^ca\.crt is malformed: PEM/],
    'a CA in DER that is cut': [{ 'ca.crt': DER.subarray(0, -1) }, /^ca\.crt is malformed: DER/],
    'a key where the CA belongs': [
      { 'ca.crt': readFileSync(join(keys, 'private', 'ca.key')) },
      /^ca\.crt is malformed: PEM: a PRIVATE KEY where a CERTIFICATE belongs/,
    ],
    'a CA that is cut': [{ 'ca.crt': read('ca.crt').subarray(0, -30) }, /^ca\.crt is malformed/],
    'an empty codesign.crt': [{ 'codesign.crt': Buffer.alloc(0) }, /^codesign\.crt is malformed/],
    'an empty boot.crt, which would ask for no name': [
      { 'boot.crt': Buffer.alloc(0) },
      /^boot\.crt is malformed/,
    ],
    'an empty keyring, which would ask for no OpenPGP': [
      { 'pubring.gpg': Buffer.alloc(0) },
      /^pubring\.gpg is malformed: OpenPGP: no key in it/,
    ],
    'a database of keyboxd': [{ 'pubring.gpg': Buffer.from('SQLite format 3\0') }, /keyboxd .*gpg --export/],
    'a keyring that is cut': [{ 'pubring.gpg': read('pubring.gpg').subarray(0, -1) }, /runs past the end/],
  };
  it('are the same in DER and armored', () => {
    const { ca, openpgp } = decodeAnchors({ ...ALL, 'ca.crt': DER, 'pubring.gpg': read('pubkey.asc') });
    const plain = decodeAnchors(ALL);
    assert.deepEqual(
      ca.map(({ raw }) => Buffer.from(raw)),
      plain.ca.map(({ raw }) => Buffer.from(raw)),
    );
    assert.deepEqual(
      openpgp.payload.map(({ primary }) => primary.fingerprint),
      plain.openpgp.payload.map(({ primary }) => primary.fingerprint),
    );
  });

  const TWICE: Readonly<Record<string, Partial<AnchorFiles>>> = {
    'payload and records': { 'manifest.crt': read('codesign.crt') },
    'scripts and payload': { 'codesign.crt': Buffer.concat([read('codesign.crt'), read('boot.crt')]) },
    'OpenPGP of payload and records': { 'manifest.gpg': read('pubring.gpg') },
    'OpenPGP of scripts and payload': {
      'pubring.gpg': Buffer.concat([read('pubring.gpg'), read('script.gpg')]),
    },
  };
  for (const [name, files] of Object.entries(TWICE)) {
    it(`are refused with one key for ${name}`, () =>
      assert.throws(() => decodeAnchors({ ...ALL, ...files }), refused('wrong-purpose', /the same key/)));
  }

  for (const [name, [files, fact]] of Object.entries(cases)) {
    it(`are refused with ${name}`, () =>
      assert.throws(() => decodeAnchors({ ...ALL, ...files }), refused('malformed', fact)));
  }

  it('are named in URLs by the first 16 digits of the fingerprint that openssl prints', () => {
    const [ca] = decodeCertificates('ca.crt', ALL['ca.crt']);
    assert.ok(ca);
    const { stdout } = run('openssl', ['x509', '-noout', '-fingerprint', '-sha256', '-in', path('ca.crt')]);
    const digits = stdout.split('=')[1]?.replaceAll(':', '').toLowerCase().slice(0, 16);
    assert.equal(anchorId(ca), digits);
  });
});
