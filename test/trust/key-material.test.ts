import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { decodeAnchors, decodeCertificates, decodeKeyring } from '../../src/trust/anchors.ts';
import { keyMaterial } from '../../src/trust/key-material.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { openssl } from '../signing/judges.ts';
import { refused } from './judge.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const at = (name: string) => join(folder, name);
const done = (...words: readonly string[]) => {
  const { status, stderr } = openssl(...words);
  assert.equal(status, 0, stderr);
};

/** A self-signed certificate over a key. */
function selfSigned(key: string, crt: string): Buffer {
  const subject = ['-subj', '/CN=twice', '-addext', 'keyUsage=critical,digitalSignature'];
  done('req', '-x509', '-new', '-key', key, '-days', '30', ...subject, '-out', crt);
  return readFileSync(crt);
}

describe('one key in another dress', () => {
  it('is one key with its point compressed: no anchors hold it for two purposes', () => {
    done('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('k.pem'));
    done('ec', '-in', at('k.pem'), '-conv_form', 'compressed', '-out', at('kc.pem'));
    const [plain, compressed] = [
      selfSigned(at('k.pem'), at('k.crt')),
      selfSigned(at('kc.pem'), at('kc.crt')),
    ];
    assert.notEqual(plain.length, compressed.length);
    const files = { 'ca.crt': readFileSync(join(keys, 'anchors/ca.crt')), 'codesign.crt': plain };
    assert.throws(
      () => decodeAnchors({ ...files, 'manifest.crt': compressed }),
      refused('wrong-purpose', /the same key/),
    );
    assert.ok(decodeAnchors({ ...files, 'manifest.crt': readFileSync(join(keys, 'anchors/manifest.crt')) }));
  });

  it('is one key in OpenPGP and in X.509', () => {
    const ring = decodeKeyring('pubring.gpg', readFileSync(join(keys, 'anchors/pubring.gpg')));
    const object = ring[0]?.keys.find(({ maySign }) => maySign)?.key.object;
    assert.ok(object);
    const again = createPublicKey({
      key: object.export({ format: 'der', type: 'spki' }),
      format: 'der',
      type: 'spki',
    });
    const [leaf] = decodeCertificates('codesign.crt', readFileSync(join(keys, 'anchors/codesign.crt')));
    assert.equal(keyMaterial(again), keyMaterial(object));
    assert.notEqual(keyMaterial(object), leaf && keyMaterial(leaf.key.object));
  });
});

it('a snapshot key that is the manifest key as well is refused', async () => {
  const twice = at('twice');
  cpSync(keys, twice, { recursive: true });
  cpSync(join(keys, 'private/manifest.key'), join(twice, 'private/snapshot.key'));
  selfSigned(join(twice, 'private/snapshot.key'), join(twice, 'anchors/snapshot.crt'));
  await assert.rejects(readSnapshotKey(twice), refused('wrong-purpose', /manifest\.crt hold the same key/));
  assert.ok(await readSnapshotKey(keys));
});
