import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../src/trust/openpgp-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { NOW } from '../fixtures/keys.ts';
import { newTestKey, publicKeyPacket, signTest, subpacket, userId } from '../fixtures/openpgp.ts';
import { judge } from './judge.ts';

const HOUR = 3_600_000;
const CONTENT = Buffer.from('root image\n');
const cat = (...parts: readonly Uint8Array[]) => Buffer.concat(parts);
const first = newTestKey();
const second = newTestKey();
const stranger = newTestKey();

describe('a seal that names its signer by an id that two keys have', () => {
  const certificates = decodeOpenpgpCertificates(
    cat(publicKeyPacket(first), userId(first), publicKeyPacket(second), userId(second)),
  );
  /** As if somebody had found a second key with the id of the first. */
  const collided = certificates.map(({ primary: key, keys, userIds }) => {
    const alike = { ...key, keyId: first.key.keyId };
    return { primary: alike, userIds, keys: keys.map((each) => ({ ...each, key: alike })) };
  });
  const hint = { nameless: true, unhashed: [subpacket(16, Buffer.from(first.key.keyId, 'hex'))] };
  const verdict = (seal: Uint8Array, keys = collided) =>
    judge(openpgpCheck('x.sig', seal, keys, defaultPolicy(NOW), NOW), CONTENT);

  it('holds for whichever of them made it, wherever it stands', async () => {
    for (const keys of [collided, collided.toReversed()]) {
      assert.equal(await verdict(signTest(first, CONTENT, hint), keys), 'verified');
      assert.equal(await verdict(signTest(second, CONTENT, hint), keys), 'verified');
      assert.equal(await verdict(signTest(stranger, CONTENT, hint), keys), 'bad-signature');
    }
  });

  it('is refused for what is wrong with the key that made it', async () => {
    const spent = collided.map((certificate, index) => ({
      ...certificate,
      keys: certificate.keys.map((key) => ({ ...key, revoked: index === 1 })),
    }));
    for (const keys of [spent, spent.toReversed()]) {
      assert.equal(await verdict(signTest(second, CONTENT, hint), keys), 'revoked');
    }
  });

  it('counts one key once', async () => {
    const twice = cat(
      signTest(second, CONTENT, hint),
      signTest(second, CONTENT, { ...hint, created: NOW - HOUR }),
    );
    assert.equal(await verdict(twice), 'malformed');
    const each = cat(signTest(first, CONTENT, hint), signTest(second, CONTENT, hint));
    assert.equal(await verdict(each), 'verified');
  });
});
