import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { decodeOpenpgpKey, keyHashInput } from '../../../src/formats/openpgp/openpgp-key.ts';
import { encodePacket, PACKET } from '../../../src/formats/openpgp/openpgp-packet.ts';
import { choosePublic, chooseSecret, findPublic } from '../../../src/signing/keys/openpgp-choice.ts';
import { sealRecordOpenpgp } from '../../../src/signing/seal-record.ts';
import { openpgpSigner } from '../../../src/signing/signatories.ts';
import { decodeKeyring } from '../../../src/trust/anchors.ts';
import { openpgpCheck } from '../../../src/trust/openpgp-check.ts';
import { defaultPolicy } from '../../../src/trust/policy.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { NOW } from '../../fixtures/keys.ts';
import {
  gpgvStatus,
  KEY_CREATED,
  lives,
  MAY_CERTIFY,
  MAY_SIGN,
  newTestKey,
  publicKeyPacket,
  type SignatureWish,
  signTest,
  subkey,
  subkeyInput,
  subpacket,
  type TestKey,
  u32,
  userId,
} from '../../fixtures/openpgp.ts';
import { judge, refused } from '../../trust/judge.ts';

/**
 * Certificates of every shape: a key is chosen for sealing where verification takes what it signs, and gpgv does. Where
 * gpgv takes more, we are stricter on purpose, and seal nothing.
 */

const DAY = 86_400_000;
const folder = await temporaryFolder();
const CONTENT = Buffer.from('content\n');
const policy = defaultPolicy(NOW);
const cat = (...parts: Uint8Array[]) => Buffer.concat(parts);

const P = newTestKey();
const S = newTestKey(KEY_CREATED + 1000);
const T = newTestKey(KEY_CREATED + 2000);
/** Made tomorrow. */
const F = newTestKey(NOW + DAY);
const SHORT = newTestKey(KEY_CREATED, 1024);

/** The same key, of the algorithm that RFC 9580 §9.1 calls "RSA Sign-Only". */
function signOnly({ body, privateKey }: TestKey): TestKey {
  const changed = Buffer.from(body);
  changed[5] = 3;
  return { body: changed, key: decodeOpenpgpKey(changed), privateKey };
}
const P3 = signOnly(P);
const S3 = signOnly(S);

/** A subkey, bound when it was made. */
function sk(
  primary: TestKey,
  key: TestKey,
  wish: SignatureWish = {},
  cross: SignatureWish | null = {},
): Buffer {
  const { created } = key.key;
  return subkey(primary, key, { created, ...wish }, cross && { created, ...cross });
}
const pk = publicKeyPacket(P);
const CERT = userId(P, { hashed: [MAY_CERTIFY] });
const SIGN = userId(P);
const NAME = Buffer.from('Test <test@example.org>');
/** Another word on the same user id. */
const later = (wish: SignatureWish) =>
  userId(P, { created: KEY_CREATED + 5000, ...wish }).subarray(2 + NAME.length);
const direct = (wish: SignatureWish) =>
  signTest(P, keyHashInput(P.body), { type: 0x1f, created: KEY_CREATED, ...wish });
const revokedSubkey = (key: TestKey) => signTest(P, subkeyInput(P, key), { type: 0x28 });
const nameInput = cat(keyHashInput(P.body), Uint8Array.of(0xb4), u32(NAME.length), NAME);
const NOFLAGS = { hashed: [] };
const MAY_ENCRYPT = subpacket(27, Uint8Array.of(0x0c));
const SIGNS = subpacket(27, Uint8Array.of(2));

/** Keys in the order of the ring, and for each: whether it seals; or that gpgv alone takes it. */
type Says = 'seals' | 'refused' | 'gpgv alone';
const SHAPES: readonly [what: string, ring: Uint8Array, keys: readonly (readonly [TestKey, Says])[]][] = [
  ['primary flags absent', cat(pk, userId(P, NOFLAGS)), [[P, 'seals']]],
  [
    'primary flags absent, sub signs',
    cat(pk, userId(P, NOFLAGS), sk(P, S)),
    [
      [P, 'seals'],
      [S, 'seals'],
    ],
  ],
  [
    'cert; sub flags absent with backsig',
    cat(pk, CERT, sk(P, S, NOFLAGS)),
    [
      [P, 'refused'],
      [S, 'seals'],
    ],
  ],
  [
    'cert; sub flags absent no backsig',
    cat(pk, CERT, sk(P, S, NOFLAGS, null)),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  [
    'cert; sub no backsig',
    cat(pk, CERT, sk(P, S, {}, null)),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  [
    'cert; newer sub ended, older lives',
    cat(pk, CERT, sk(P, S), sk(P, T, { hashed: [SIGNS, lives(3600)] })),
    [
      [P, 'refused'],
      [S, 'seals'],
      [T, 'refused'],
    ],
  ],
  [
    'cert; newer sub revoked',
    cat(pk, CERT, sk(P, S), sk(P, T), revokedSubkey(T)),
    [
      [P, 'refused'],
      [S, 'seals'],
      [T, 'refused'],
    ],
  ],
  [
    'cert; older sub revoked',
    cat(pk, CERT, sk(P, S), revokedSubkey(S), sk(P, T)),
    [
      [P, 'refused'],
      [S, 'refused'],
      [T, 'seals'],
    ],
  ],
  [
    'primary ended; sub lives',
    cat(pk, userId(P, { hashed: [MAY_SIGN, lives(3600)] }), sk(P, S)),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  [
    'primary revoked',
    cat(pk, signTest(P, keyHashInput(P.body), { type: 0x20 }), SIGN, sk(P, S)),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  [
    'user id revoked',
    cat(pk, SIGN, signTest(P, nameInput, { type: 0x30 }), sk(P, S)),
    [
      [P, 'gpgv alone'],
      [S, 'gpgv alone'],
    ],
  ],
  [
    'no user id',
    cat(pk, sk(P, S)),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  [
    'direct only',
    cat(pk, direct({ hashed: [MAY_SIGN] }), sk(P, S)),
    [
      [P, 'seals'],
      [S, 'seals'],
    ],
  ],
  ['direct certify, uid sign', cat(pk, direct({ hashed: [MAY_CERTIFY] }), SIGN), [[P, 'refused']]],
  ['direct no flags, uid sign', cat(pk, direct(NOFLAGS), SIGN), [[P, 'seals']]],
  ['direct no flags, uid certify', cat(pk, direct(NOFLAGS), CERT), [[P, 'refused']]],
  ['direct sign, uid certify', cat(pk, direct({ hashed: [MAY_SIGN] }), CERT), [[P, 'gpgv alone']]],
  [
    'direct newer no flags, uid certify',
    cat(pk, direct({ hashed: [], created: KEY_CREATED + 9000 }), CERT),
    [[P, 'refused']],
  ],
  ['direct sign, uid no flags', cat(pk, direct({ hashed: [MAY_SIGN] }), userId(P, NOFLAGS)), [[P, 'seals']]],
  [
    'direct certify, uid no flags',
    cat(pk, direct({ hashed: [MAY_CERTIFY] }), userId(P, NOFLAGS)),
    [[P, 'refused']],
  ],
  ['sign-only rsa primary', cat(publicKeyPacket(P3), userId(P3)), [[P3, 'seals']]],
  [
    'sign-only rsa sub',
    cat(pk, CERT, sk(P, S3)),
    [
      [P, 'refused'],
      [S3, 'seals'],
    ],
  ],
  [
    'sub binding sha1',
    cat(pk, CERT, sk(P, S, { hash: 'sha1' })),
    [
      [P, 'refused'],
      [S, 'gpgv alone'],
    ],
  ],
  [
    'sub backsig sha1',
    cat(pk, CERT, sk(P, S, {}, { hash: 'sha1' })),
    [
      [P, 'refused'],
      [S, 'gpgv alone'],
    ],
  ],
  [
    'uid sha1',
    cat(pk, userId(P, { hash: 'sha1' }), sk(P, S)),
    [
      [P, 'gpgv alone'],
      [S, 'gpgv alone'],
    ],
  ],
  ['uid sha256 then sha1 newer', cat(pk, SIGN, later({ hash: 'sha1' })), [[P, 'gpgv alone']]],
  [
    'sub of the future',
    cat(pk, CERT, sk(P, F, { created: NOW + DAY }, { created: NOW + DAY })),
    [
      [P, 'refused'],
      [F, 'refused'],
    ],
  ],
  [
    'sub of the future, older good',
    cat(pk, CERT, sk(P, S), sk(P, F, { created: NOW + DAY }, { created: NOW + DAY })),
    [
      [P, 'refused'],
      [S, 'seals'],
      [F, 'refused'],
    ],
  ],
  [
    'binding ended',
    cat(pk, CERT, sk(P, S, { hashed: [SIGNS, subpacket(3, u32(3600))] })),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  [
    'binding of the future',
    cat(pk, CERT, sk(P, S, { created: NOW + DAY })),
    [
      [P, 'refused'],
      [S, 'seals'],
    ],
  ],
  ['newer uid sig certify only', cat(pk, SIGN, later({ hashed: [MAY_CERTIFY] })), [[P, 'refused']]],
  ['newer uid sig no flags', cat(pk, CERT, later(NOFLAGS)), [[P, 'seals']]],
  [
    'two uids: sign, later certify',
    cat(pk, SIGN, userId(P, { hashed: [MAY_CERTIFY], created: KEY_CREATED + 5000 }, 'Later')),
    [[P, 'refused']],
  ],
  [
    'two uids: certify primary-uid, later sign',
    cat(
      pk,
      userId(P, { hashed: [MAY_CERTIFY, subpacket(25, Uint8Array.of(1))] }),
      userId(P, { created: KEY_CREATED + 5000 }, 'Later'),
    ),
    [[P, 'seals']],
  ],
  [
    'two uids: sign primary-uid, later certify',
    cat(
      pk,
      userId(P, { hashed: [MAY_SIGN, subpacket(25, Uint8Array.of(1))] }),
      userId(P, { hashed: [MAY_CERTIFY], created: KEY_CREATED + 5000 }, 'Later'),
    ),
    [[P, 'refused']],
  ],
  ['empty flags', cat(pk, userId(P, { hashed: [subpacket(27, new Uint8Array(0))] })), [[P, 'refused']]],
  ['flags zero', cat(pk, userId(P, { hashed: [subpacket(27, Uint8Array.of(0))] })), [[P, 'refused']]],
  [
    'flags unhashed',
    cat(pk, userId(P, { hashed: [], unhashed: [subpacket(16, Buffer.from(P.key.keyId, 'hex')), MAY_SIGN] })),
    [[P, 'seals']],
  ],
  [
    'sub newer binding certify-less flags encrypt',
    cat(
      pk,
      CERT,
      sk(P, S),
      sk(P, S, { created: KEY_CREATED + 9000, hashed: [MAY_ENCRYPT] }).subarray(
        encodePacket(PACKET.publicSubkey, S.body).length,
      ),
    ),
    [
      [P, 'refused'],
      [S, 'refused'],
    ],
  ],
  ['a short primary', cat(publicKeyPacket(SHORT), userId(SHORT)), [[SHORT, 'gpgv alone']]],
  [
    'a short primary, a long subkey',
    cat(publicKeyPacket(SHORT), userId(SHORT, { hashed: [MAY_CERTIFY] }), sk(SHORT, S)),
    [
      [SHORT, 'refused'],
      [S, 'gpgv alone'],
    ],
  ],
];

for (const [what, bytes, keys] of SHAPES) {
  describe(`of a certificate with ${what}`, () => {
    const ring = { path: 'pubring.gpg', bytes };
    for (const [index, [{ key, privateKey }, says]] of keys.entries()) {
      it(`key ${index} ${says === 'seals' ? 'seals' : 'does not seal'}`, async () => {
        const signer = openpgpSigner('openpgp', { key, privateKey });
        const signature = await sealRecordOpenpgp(CONTENT, signer, NOW);
        const status = gpgvStatus(folder, { keyring: bytes, signature, content: CONTENT });
        const good = status.some((line) => line.startsWith('GOODSIG '));
        assert.equal(good, says !== 'refused', status.join('\n'));
        const check = openpgpCheck('x.sig', signature, decodeKeyring('x', bytes), policy, NOW, 'grub');
        assert.equal((await judge(check, CONTENT)) === 'verified', says === 'seals');
        const choose = () => chooseSecret([{ key, privateKey }], 'openpgp.asc', ring, NOW).key.fingerprint;
        const find = () => findPublic(ring, key.fingerprint, NOW)?.fingerprint;
        if (says === 'seals') assert.deepEqual([choose(), find()], [key.fingerprint, key.fingerprint]);
        else for (const act of [choose, find]) assert.throws(act, Refusal);
      });
    }

    it('the newest of those that may is the one', () => {
      const may = keys.filter(([, says]) => says === 'seals').map(([key]) => key);
      const secrets = keys.map(([{ key, privateKey }]) => ({ key, privateKey }));
      const newest = may.at(-1);
      if (newest) {
        const { fingerprint } = newest.key;
        assert.equal(choosePublic(ring, NOW).fingerprint, fingerprint);
        assert.equal(chooseSecret(secrets, 'openpgp.asc', ring, NOW).key.fingerprint, fingerprint);
      } else assert.throws(() => choosePublic(ring, NOW), Refusal);
    });
  });
}

it('of a key on a card nothing is sealed, but with another that is at hand', () => {
  const ring = { path: 'pubring.gpg', bytes: cat(pk, CERT, sk(P, S), sk(P, T)) };
  const [card, primary] = [T, P].map(({ key }) => ({ key, privateKey: undefined }));
  assert.ok(card && primary);
  const own = { key: S.key, privateKey: S.privateKey };
  assert.equal(chooseSecret([primary, own, card], 'a', ring, NOW).key.fingerprint, S.key.fingerprint);
  assert.throws(
    () => chooseSecret([primary, card], 'openpgp.asc', ring, NOW),
    refused('unsafe-keys', /openpgp\.asc holds no secret numbers .* a card or another computer/),
  );
});

it('a binding with SHA-1 is named as what it is', () => {
  const ring = { path: 'pubring.gpg', bytes: cat(pk, userId(P, { hash: 'sha1' })) };
  assert.throws(() => choosePublic(ring, NOW), refused('wrong-purpose', /hashed with SHA-1 or MD5/));
});

it('a key that a keyring has not heard of is not found in it', () => {
  assert.equal(findPublic({ path: 'a', bytes: cat(pk, SIGN) }, S.key.fingerprint, NOW), undefined);
});
