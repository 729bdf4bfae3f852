import { keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { encodePacket, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  KEY_CREATED,
  lives,
  MAY_CERTIFY,
  MAY_SIGN,
  newTestKey,
  publicKeyPacket,
  type SignatureWish,
  signTest,
  subkey,
  subpacket,
  u32,
  userId,
} from '../fixtures/openpgp.ts';
import type { Verdict } from './judge.ts';

/** OpenPGP seals, each with one thing about it or about its key, and what must be said of it. */
export interface OpenpgpVector {
  readonly name: string;
  readonly keyring: Uint8Array;
  readonly seal: Uint8Array;
  readonly verdict: Verdict;
  /** What gpgv says is good, and we refuse all the same. */
  readonly gpgvTakesIt?: true;
}

export const CONTENT = Buffer.from('the content that is sealed\n');
const DAY = 86_400_000;

export const primary = newTestKey();
export const sub = newTestKey();
const short = newTestKey(KEY_CREATED, 1024);
const stranger = newTestKey();
const packet = publicKeyPacket(primary);
const cat = (...parts: Uint8Array[]) => Buffer.concat(parts);
const seal = (wish: SignatureWish = {}, by = primary, content: Uint8Array = CONTENT) =>
  signTest(by, content, wish);
const ring = (wish: SignatureWish = {}) => cat(packet, userId(primary, wish));
const GOOD = ring();
const UID = 2 + 'Test <test@example.org>'.length;
/** Its user id gives it an hour to live. */
const MORTAL = ring({ hashed: [MAY_SIGN, lives(3600)] });
/** Another self-signature on the same user id. */
const again = (wish: SignatureWish) => userId(primary, wish).subarray(UID);
const flip = (bytes: Uint8Array, at: number) => {
  const changed = Buffer.from(bytes);
  changed[changed.length + at] = (changed[changed.length + at] ?? 0) ^ 1;
  return changed;
};
const OWN = keyHashInput(primary.body);
const revocation = (wish: SignatureWish = {}) => signTest(primary, OWN, { type: 0x20, ...wish });
const subRevocation = (wish: SignatureWish = {}) =>
  signTest(primary, cat(OWN, keyHashInput(sub.body)), { type: 0x28, ...wish });
const OBEY = subpacket(0x80 | 100, Uint8Array.of(1));
const WITH_SUB = cat(GOOD, subkey(primary, sub));
const bySub = seal({}, sub);
const onePass = encodePacket(
  4,
  cat(Uint8Array.of(3, 0, 10, 1), Buffer.from(primary.key.keyId, 'hex'), Uint8Array.of(1)),
);
const literal = encodePacket(11, cat(Uint8Array.of(0x62, 0), u32(0), CONTENT));

export const openpgpVectors: readonly OpenpgpVector[] = [
  { name: 'by the primary key', keyring: GOOD, seal: seal(), verdict: 'verified' },
  { name: 'with SHA-256', keyring: GOOD, seal: seal({ hash: 'sha256' }), verdict: 'verified' },
  {
    name: 'by a subkey that agrees',
    keyring: WITH_SUB,
    seal: bySub,
    verdict: 'verified',
  },
  {
    name: 'that names its signer by key id alone',
    keyring: GOOD,
    seal: seal({ nameless: true }),
    verdict: 'verified',
  },
  {
    name: 'by a key bound directly, without a user id that counts',
    keyring: cat(
      packet,
      signTest(primary, keyHashInput(primary.body), { type: 0x1f, hashed: [MAY_SIGN], created: KEY_CREATED }),
    ),
    seal: seal(),
    verdict: 'verified',
  },
  {
    name: 'by a key among others',
    keyring: cat(publicKeyPacket(stranger), userId(stranger), GOOD),
    seal: seal(),
    verdict: 'verified',
  },
  {
    name: 'by a key whose user id says later that it lives longer',
    keyring: cat(MORTAL, again({ created: KEY_CREATED + 1000 })),
    seal: seal(),
    verdict: 'verified',
  },
  {
    name: 'by a key that has ended, whatever another user id leaves out',
    keyring: cat(MORTAL, userId(primary, { created: KEY_CREATED + 1000 }, 'Later')),
    seal: seal(),
    verdict: 'expired',
  },
  {
    name: 'by a key that has ended, for a later user id',
    keyring: cat(
      GOOD,
      userId(primary, { created: KEY_CREATED + 1000, hashed: [MAY_SIGN, lives(3600)] }, 'Later'),
    ),
    seal: seal(),
    verdict: 'expired',
  },

  {
    name: 'of other content',
    keyring: GOOD,
    seal: seal({}, primary, Buffer.from('other')),
    verdict: 'bad-signature',
  },
  { name: 'with its last byte changed', keyring: GOOD, seal: flip(seal(), -1), verdict: 'bad-signature' },
  { name: 'with its time changed', keyring: GOOD, seal: flip(seal(), -275), verdict: 'bad-signature' },
  {
    name: 'by two, of which one is bad',
    keyring: WITH_SUB,
    seal: cat(seal(), flip(bySub, -1)),
    verdict: 'bad-signature',
  },
  {
    name: 'by two, of which one is a stranger',
    keyring: GOOD,
    seal: cat(seal(), seal({}, stranger)),
    verdict: 'untrusted-signer',
  },
  {
    name: 'by one key twice',
    keyring: GOOD,
    seal: cat(seal(), seal({ created: NOW - 1000 })),
    verdict: 'malformed',
    gpgvTakesIt: true,
  },
  { name: 'by a stranger', keyring: GOOD, seal: seal({}, stranger), verdict: 'untrusted-signer' },
  {
    name: 'that names nobody',
    keyring: GOOD,
    seal: seal({ nameless: true, unhashed: [] }),
    verdict: 'untrusted-signer',
  },
  {
    name: 'by a stranger who names a known key',
    keyring: GOOD,
    seal: seal(
      { nameless: true, unhashed: [subpacket(16, Buffer.from(primary.key.keyId, 'hex'))] },
      stranger,
    ),
    verdict: 'bad-signature',
  },

  { name: 'that is empty', keyring: GOOD, seal: Buffer.alloc(0), verdict: 'malformed' },
  {
    name: 'that is an opaque message',
    keyring: GOOD,
    seal: cat(onePass, literal, seal()),
    verdict: 'malformed',
  },
  {
    name: 'that is an opaque message of the old kind',
    keyring: GOOD,
    seal: cat(seal(), literal),
    verdict: 'malformed',
  },
  { name: 'behind a one-pass packet', keyring: GOOD, seal: cat(onePass, seal()), verdict: 'malformed' },
  {
    name: 'with a marker before it',
    keyring: GOOD,
    seal: cat(encodePacket(PACKET.marker, Buffer.from('PGP')), seal()),
    verdict: 'malformed',
    gpgvTakesIt: true,
  },
  {
    name: 'with an unknown critical subpacket',
    keyring: GOOD,
    seal: seal({ hashed: [OBEY] }),
    verdict: 'malformed',
  },
  {
    name: 'with a critical notation',
    keyring: GOOD,
    seal: seal({
      hashed: [subpacket(0x94, cat(Uint8Array.of(0x80, 0, 0, 0, 0, 1, 0, 1), Buffer.from('ab')))],
    }),
    verdict: 'malformed',
  },
  {
    name: 'of text',
    keyring: GOOD,
    seal: seal({ type: 1 }, primary, Buffer.from('the content that is sealed\r\n')),
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  { name: 'that stands alone', keyring: GOOD, seal: seal({ type: 2 }), verdict: 'wrong-purpose' },
  {
    name: 'with SHA-1',
    keyring: GOOD,
    seal: seal({ hash: 'sha1' }),
    verdict: 'weak-algorithm',
    gpgvTakesIt: true,
  },
  { name: 'with MD5', keyring: GOOD, seal: seal({ hash: 'md5' }), verdict: 'weak-algorithm' },
  {
    name: 'by an RSA key of 1024 bits',
    keyring: cat(publicKeyPacket(short), userId(short)),
    seal: seal({}, short),
    verdict: 'weak-algorithm',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key bound with SHA-1',
    keyring: ring({ hash: 'sha1' }),
    seal: seal(),
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  { name: 'by a key bound by nothing', keyring: packet, seal: seal(), verdict: 'wrong-purpose' },
  {
    name: 'by a key bound before it was made',
    keyring: ring({ created: KEY_CREATED - DAY }),
    seal: seal(),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key bound at no time',
    keyring: ring({ timeless: true }),
    seal: seal(),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key bound by a stranger',
    keyring: cat(packet, userId(stranger)),
    seal: seal(),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key that only certifies',
    keyring: ring({ hashed: [MAY_CERTIFY] }),
    seal: seal(),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key that has ended',
    keyring: ring({ hashed: [MAY_SIGN, lives(DAY / 1000)] }),
    seal: seal({ created: KEY_CREATED + 1000 }),
    verdict: 'expired',
  },
  {
    name: 'that has ended itself',
    keyring: GOOD,
    seal: seal({ created: NOW - DAY, hashed: [subpacket(3, u32(3600))] }),
    verdict: 'expired',
  },
  {
    name: 'that is older than its key',
    keyring: GOOD,
    seal: seal({ created: KEY_CREATED - DAY }),
    verdict: 'not-yet-valid',
  },
  {
    name: 'that does not say when it was made',
    keyring: GOOD,
    seal: seal({ timeless: true }),
    verdict: 'malformed',
  },
  {
    name: 'that only an unhashed field dates',
    keyring: GOOD,
    seal: seal({ timeless: true, unhashed: [subpacket(2, u32(NOW / 1000))] }),
    verdict: 'malformed',
  },
  {
    name: 'of the day after tomorrow',
    keyring: GOOD,
    seal: seal({ created: NOW + 2 * DAY }),
    verdict: 'not-yet-valid',
    gpgvTakesIt: true,
  },
  {
    name: 'by a revoked key',
    keyring: cat(packet, revocation(), userId(primary)),
    seal: seal(),
    verdict: 'revoked',
  },
  {
    name: 'by a key revoked with SHA-1',
    keyring: cat(packet, revocation({ hash: 'sha1' }), userId(primary)),
    seal: seal(),
    verdict: 'revoked',
  },
  {
    name: 'by a key revoked in words that are not known',
    keyring: cat(packet, revocation({ hashed: [OBEY] }), userId(primary)),
    seal: seal(),
    verdict: 'revoked',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key that a stranger revokes',
    keyring: cat(packet, signTest(stranger, OWN, { type: 0x20 }), userId(primary)),
    seal: seal(),
    verdict: 'verified',
  },
  {
    name: 'by a revoked subkey',
    keyring: cat(WITH_SUB, subRevocation()),
    seal: bySub,
    verdict: 'revoked',
  },
  {
    name: 'by a subkey revoked with SHA-1',
    keyring: cat(WITH_SUB, subRevocation({ hash: 'sha1' })),
    seal: bySub,
    verdict: 'revoked',
  },
  {
    name: 'by a subkey of a revoked key',
    keyring: cat(packet, revocation(), userId(primary), subkey(primary, sub)),
    seal: bySub,
    verdict: 'revoked',
  },
  {
    name: 'by a key whose subkey is revoked',
    keyring: cat(WITH_SUB, subRevocation()),
    seal: seal(),
    verdict: 'verified',
  },

  {
    name: 'by a subkey that does not agree',
    keyring: cat(GOOD, subkey(primary, sub, {}, null)),
    seal: bySub,
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a subkey that agrees the wrong way',
    keyring: cat(GOOD, subkey(primary, sub, {}, { type: 0x18 })),
    seal: bySub,
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a subkey that agrees with SHA-1',
    keyring: cat(GOOD, subkey(primary, sub, {}, { hash: 'sha1' })),
    seal: bySub,
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a subkey bound with SHA-1',
    keyring: cat(GOOD, subkey(primary, sub, { hash: 'sha1' })),
    seal: bySub,
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a subkey that encrypts',
    keyring: cat(GOOD, subkey(primary, sub, { hashed: [subpacket(27, Uint8Array.of(0x0c))] })),
    seal: bySub,
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a subkey of a key bound by nothing',
    keyring: cat(packet, subkey(primary, sub)),
    seal: bySub,
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a subkey of a key bound with SHA-1',
    keyring: cat(ring({ hash: 'sha1' }), subkey(primary, sub)),
    seal: bySub,
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a subkey of a key that has ended',
    keyring: cat(ring({ hashed: [MAY_SIGN, lives(DAY / 1000)] }), subkey(primary, sub)),
    seal: bySub,
    verdict: 'expired',
  },
  {
    name: 'by a subkey that has ended',
    keyring: cat(
      GOOD,
      subkey(primary, sub, { hashed: [subpacket(27, Uint8Array.of(2)), lives(DAY / 1000)] }),
    ),
    seal: bySub,
    verdict: 'expired',
  },
];
