import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { demandApart, grubKeyring } from '../../src/build/grub-keyring.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { decodeOpenpgpKey, keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { decodePackets, encodePacket, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  KEY_CREATED,
  lives,
  MAY_CERTIFY,
  MAY_SIGN,
  newTestKey,
  publicKeyPacket,
  signTest,
  subkey,
  subkeyInput,
  subpacket,
  userId,
} from '../fixtures/openpgp.ts';

const cat = (...parts: readonly Uint8Array[]) => Buffer.concat(parts);
const good = newTestKey();
const other = newTestKey();
const weak = newTestKey(KEY_CREATED, 1024);
const GOOD = cat(publicKeyPacket(good), userId(good));
const OTHER = cat(publicKeyPacket(other), userId(other));
const encrypts = { hashed: [subpacket(27, Uint8Array.of(0x0c))] };
const certifyOnly = cat(publicKeyPacket(good), userId(good, { hashed: [MAY_CERTIFY] }));
const again = (newFormat: Uint8Array) =>
  cat(
    ...decodePackets(newFormat, 20).map(({ tag, body }) =>
      cat(Uint8Array.of(0xc0 | tag, 0xff, 0, 0, body.length >> 8, body.length & 0xff), body),
    ),
  );

describe('the keyring inside a GRUB image', () => {
  const kept: Readonly<Record<string, readonly [Uint8Array, readonly (typeof good)[]]>> = {
    'a key that signs': [GOOD, [good]],
    'two keys, while one replaces the other': [cat(GOOD, OTHER), [good, other]],
    'a key that is there twice, once': [cat(GOOD, GOOD), [good]],
    'a key without its subkey for encryption': [cat(GOOD, subkey(good, other, encrypts, null)), [good]],
    'a subkey that signs, without its primary key, which does not': [
      cat(certifyOnly, subkey(good, other)),
      [other],
    ],
    'a key with headers that GRUB misreads, with others': [again(GOOD), [good]],
  };
  for (const [what, [keyring, keys]] of Object.entries(kept)) {
    it(`holds ${what}`, () => {
      assert.deepEqual(
        grubKeyring('pubring.gpg', keyring, NOW).map(({ keyId, packet }) => [keyId, Buffer.from(packet)]),
        keys.map((key) => [key.key.keyId, Buffer.from(publicKeyPacket(key))]),
      );
    });
  }

  const own = keyHashInput(other.body);
  const bareSubkey = encodePacket(PACKET.publicSubkey, other.body);
  const unfit: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
    'a subkey that nothing binds': [cat(GOOD, bareSubkey), /nothing that counts binds/],
    'a subkey bound with SHA-1': [cat(GOOD, subkey(good, other, { hash: 'sha1' })), /nothing that counts/],
    'a key that nothing binds': [cat(GOOD, publicKeyPacket(other)), /nothing that counts binds/],
    'a key that is revoked': [
      cat(GOOD, publicKeyPacket(other), signTest(other, own, { type: 0x20 }), userId(other)),
      /is revoked/,
    ],
    'a subkey that is revoked': [
      cat(GOOD, subkey(good, other), signTest(good, subkeyInput(good, other), { type: 0x28 })),
      /is revoked/,
    ],
    'a key that has ended': [
      cat(GOOD, publicKeyPacket(other), userId(other, { hashed: [MAY_SIGN, lives(3600)] })),
      /ended on/,
    ],
    'a key that is too short': [cat(GOOD, publicKeyPacket(weak), userId(weak)), /1024 bits/],
    'a key that cannot be read': [
      cat(GOOD, encodePacket(PACKET.publicSubkey, Uint8Array.of(3, 0, 0))),
      /cannot be read/,
    ],
    'a key that is revoked in another copy': [
      cat(GOOD, publicKeyPacket(good), signTest(good, keyHashInput(good.body), { type: 0x20 }), userId(good)),
      /is revoked/,
    ],
    'no key that signs': [certifyOnly, /no key in it may sign/],
  };
  for (const [what, [keyring, why]] of Object.entries(unfit)) {
    it(`is refused with ${what}`, () => {
      assert.throws(
        () => grubKeyring('pubring.gpg', keyring, NOW),
        (error) => error instanceof Refusal && error.code === 'unsafe-keys' && why.test(error.message),
      );
    });
  }

  it('is refused with a key of tomorrow', () => {
    assert.throws(() => grubKeyring('pubring.gpg', GOOD, KEY_CREATED - 1), /begins on/);
  });
});

describe('the keys of a GRUB image', () => {
  const keysOf = (...keys: readonly (typeof good)[]) =>
    grubKeyring('x', cat(...keys.flatMap((key) => [publicKeyPacket(key), userId(key)])), NOW);
  const refused = (work: () => void) =>
    assert.throws(
      work,
      (error) =>
        error instanceof Refusal && error.code === 'unsafe-keys' && /cannot tell/.test(error.message),
    );

  it('are those of both roles, while they differ', () => {
    demandApart(keysOf(good), keysOf(other));
  });

  it('are refused where one key is to sign both', () => {
    refused(() => demandApart(keysOf(good, other), keysOf(other)));
  });

  it('are refused where two agree in their last 8 hex digits', () => {
    const [script, payload] = alike();
    assert.notEqual(script.key.keyId, payload.key.keyId);
    refused(() => demandApart(keysOf(script), keysOf(payload)));
    refused(() => demandApart(keysOf(script, payload), keysOf(other)));
    refused(() => demandApart(keysOf(other), keysOf(script, payload)));
  });
});

/** One modulus with two dates whose key ids agree in 32 bits: some hundred thousand dates are enough to find them. */
function alike(): [typeof good, typeof good] {
  const seen = new Map<string, number>();
  for (let created = KEY_CREATED; ; created -= 1000) {
    const body = Buffer.from(good.body);
    body.writeUInt32BE(created / 1000, 1);
    const id = createHash('sha1').update(keyHashInput(body)).digest().subarray(-4).toString('latin1');
    const before = seen.get(id);
    if (before !== undefined) return [newTestKeyAt(before), newTestKeyAt(created)];
    seen.set(id, created);
  }
}

function newTestKeyAt(created: number): typeof good {
  const body = Buffer.from(good.body);
  body.writeUInt32BE(created / 1000, 1);
  return { ...good, body, key: decodeOpenpgpKey(body) };
}
