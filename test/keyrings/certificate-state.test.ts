import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../src/errors/malformed.ts';
import { keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { encodePacket, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  lives,
  MAY_CERTIFY,
  MAY_SIGN,
  newTestKey,
  publicKeyPacket,
  signTest,
  subkey,
  subkeyInput,
  subpacket,
  type TestKey,
  userId,
  withUnknownHash,
} from '../fixtures/openpgp.ts';
import {
  BORN,
  certificate,
  certify,
  curated,
  DAY,
  type Judged,
  NAME,
  revocation,
  SELF,
  SUBJECT,
  source,
  verdictOn,
} from './web-fixtures.ts';

const SUB = newTestKey(BORN);
const SELF_SIGNED = userId(SUBJECT, SELF);
const SOFT = subpacket(29, Uint8Array.of(32));
const YEARS = (count: number) => lives(count * 365 * 86_400);

describe('what a certificate says of itself', () => {
  const bound = subkey(SUBJECT, SUB, SELF, SELF);
  const certifyOnly = userId(SUBJECT, { ...SELF, hashed: [MAY_CERTIFY] });
  const short = newTestKey(BORN, 1024);
  const cases: readonly [string, string, readonly Uint8Array[], Judged?][] = [
    ['given', 'a primary key that signs', [SELF_SIGNED]],
    ['given', 'a subkey that signs', [certifyOnly, bound]],
    ['given', 'one retired later than the stated time', [revocation(SUBJECT, 3, NOW + DAY), SELF_SIGNED]],
    ['revoked', 'one retired before', [revocation(SUBJECT, 3, NOW - DAY), SELF_SIGNED]],
    ['revoked', 'one superseded at that moment', [revocation(SUBJECT, 1, NOW), SELF_SIGNED]],
    ['revoked', 'one compromised, as was found out later', [revocation(SUBJECT, 2, NOW + DAY), SELF_SIGNED]],
    ['revoked', 'one revoked without a reason', [revocation(SUBJECT, undefined, NOW + DAY), SELF_SIGNED]],
    [
      'revoked',
      'one whose owner gave up its only user id',
      [SELF_SIGNED, certify(SUBJECT, { type: 0x30, hashed: [SOFT] })],
    ],
    [
      'given',
      'one whose owner took the user id up again',
      [certify(SUBJECT, { type: 0x30 }), userId(SUBJECT, { created: NOW - DAY })],
    ],
    ['expired', 'one that has ended', [userId(SUBJECT, { ...SELF, hashed: [MAY_SIGN, YEARS(1)] })]],
    [
      'given',
      'the same while it lived',
      [userId(SUBJECT, { ...SELF, hashed: [MAY_SIGN, YEARS(1)] })],
      { at: BORN + 300 * DAY },
    ],
    ['no-self-signature', 'one with a user id that it never signed', [userId(SUB, SELF)]],
    [
      'no-self-signature',
      'one that signed its user id after the stated time',
      [userId(SUBJECT, { created: NOW + 1000 })],
    ],
    ['no-self-signature', 'one without a user id', []],
    ['sha1-binding', 'one bound with SHA-1', [userId(SUBJECT, { ...SELF, hash: 'sha1' })]],
    [
      'sha1-binding',
      'one bound with SHA-1, under any policy',
      [userId(SUBJECT, { ...SELF, hash: 'sha1' })],
      { at: Date.UTC(2012, 0), policy: 'apt' },
    ],
    ['md5-binding', 'one bound with MD5', [userId(SUBJECT, { ...SELF, hash: 'md5' })]],
    [
      'sha1-binding',
      'one bound with SHA-1 again after SHA-512',
      [SELF_SIGNED, certify(SUBJECT, { type: 0x13, hash: 'sha1', hashed: [MAY_SIGN] })],
    ],
    [
      'sha1-binding',
      'one that said with SHA-1, on another name, what it said last',
      [SELF_SIGNED, userId(SUBJECT, { created: BORN + DAY, hash: 'sha1' }, 'Later')],
    ],
    [
      'given',
      'one that said something else with SHA-1 before',
      [userId(SUBJECT, { ...SELF, hash: 'sha1' }, 'Earlier'), userId(SUBJECT, { created: BORN + DAY })],
    ],
    [
      'revoked',
      'one revoked with a hash that is not known here',
      [withUnknownHash(revocation(SUBJECT, 3, NOW - DAY)), SELF_SIGNED],
    ],
    [
      'no-signing-key',
      'one whose signing key is revoked with such a hash',
      [
        certifyOnly,
        bound,
        withUnknownHash(signTest(SUBJECT, subkeyInput(SUBJECT, SUB), { type: 0x28, created: NOW - DAY })),
      ],
    ],
    [
      'sha1-binding',
      'one whose signing key is bound with SHA-1',
      [certifyOnly, subkey(SUBJECT, SUB, { ...SELF, hash: 'sha1' }, SELF)],
    ],
    [
      'sha1-binding',
      'one whose signing key agrees with SHA-1',
      [certifyOnly, subkey(SUBJECT, SUB, SELF, { ...SELF, hash: 'sha1' })],
    ],
    [
      'no-signing-key',
      'one whose signing key does not agree',
      [certifyOnly, subkey(SUBJECT, SUB, SELF, null)],
    ],
    [
      'no-signing-key',
      'one whose signing key has ended',
      [
        certifyOnly,
        subkey(SUBJECT, SUB, { ...SELF, hashed: [subpacket(27, Uint8Array.of(2)), YEARS(1)] }, SELF),
      ],
    ],
    [
      'no-signing-key',
      'one whose signing key is too short',
      [certifyOnly, subkey(SUBJECT, short, SELF, SELF)],
    ],
    ['no-signing-key', 'one that only certifies', [certifyOnly]],
    ['not-yet-valid', 'one that is not made yet', [SELF_SIGNED], { at: BORN - DAY }],
    ['too-large', 'one with a user id of 1 MB', [userId(SUBJECT, SELF, 'x'.repeat(2 ** 20))]],
  ];
  for (const [verdict, what, parts, judged] of cases) {
    it(`is ${verdict}: ${what}`, () => {
      const curation = curated([source([certificate(SUBJECT, ...parts)], 'no list')], judged);
      assert.equal(verdictOn(SUBJECT, curation), verdict);
    });
  }

  it('is revoked by a key that its owner named for that, and by no other', () => {
    const input = keyHashInput(SUBJECT.body);
    const names = subpacket(
      12,
      Buffer.concat([Buffer.from([0x80, 1]), Buffer.from(SUB.key.fingerprint, 'hex')]),
    );
    const named = signTest(SUBJECT, input, { type: 0x1f, created: BORN, hashed: [MAY_SIGN, names] });
    const claimed = signTest(SUB, input, { type: 0x1f, created: BORN, nameless: true, hashed: [names] });
    const revokes = signTest(SUB, input, { type: 0x20, created: NOW - DAY });
    const verdict = (...signatures: readonly Uint8Array[]) =>
      verdictOn(SUBJECT, curated([source([certificate(SUBJECT, ...signatures, SELF_SIGNED)], 'no list')]));
    assert.equal(verdict(named, revokes), 'revoked');
    assert.equal(verdict(named), 'given');
    assert.equal(verdict(revokes), 'given');
    assert.equal(verdict(claimed, revokes), 'given');
  });

  it('is too short at 1024 bits, and was not in 2013', () => {
    const sources = [source([certificate(short, userId(short, SELF))], 'no list')];
    assert.equal(verdictOn(short, curated(sources)), 'too-short');
    assert.equal(verdictOn(short, curated(sources, { at: Date.UTC(2013, 5) })), 'given');
  });

  it('keeps a user id that can be read beside one that nobody reads', () => {
    const parts = [userId(SUBJECT, SELF, 'x'.repeat(2 ** 20)), SELF_SIGNED];
    const { kept } = curated([source([certificate(SUBJECT, ...parts)], 'no list')]);
    assert.equal(kept[0]?.userId, NAME);
  });

  it('hears of a revocation from whichever source knows it', () => {
    const fresh = source([certificate(SUBJECT, SELF_SIGNED)], 'no list');
    const knowing = source([certificate(SUBJECT, revocation(SUBJECT, 2, NOW), SELF_SIGNED)], 'no list');
    for (const sources of [
      [fresh, knowing],
      [knowing, fresh],
    ]) {
      const curation = curated(sources);
      assert.equal(verdictOn(SUBJECT, curation), 'revoked');
      assert.deepEqual(curation.revoked, [SUBJECT.key.fingerprint]);
    }
  });
});

describe('a hostile keyring', () => {
  const self = certificate(SUBJECT, SELF_SIGNED);
  const claims = [subpacket(16, Buffer.from(SUBJECT.key.keyId, 'hex'))];
  /** Claims to be by the subject, and is by another. */
  const forged = certify(SUB, { type: 0x13, created: NOW, nameless: true, unhashed: claims });
  const bodyOf = (key: TestKey, change: (body: Buffer) => void) => {
    const body = Buffer.from(key.body);
    change(body);
    return encodePacket(PACKET.publicKey, body);
  };
  const verdictIn = (bytes: readonly Uint8Array[]) =>
    curated([source(bytes, 'no list')]).dropped.map(({ reason }) => reason);

  for (const version of [2, 3, 5, 6]) {
    it(`drops a key of version ${version}, and keeps what stands beside it`, () => {
      const odd = bodyOf(SUB, (body) => body.writeUInt8(version, 0));
      const curation = curated([source([odd, userId(SUB, SELF), self], 'no list')]);
      assert.deepEqual(
        curation.dropped.map(({ reason, userId: name }) => [reason, name]),
        [['unsupported-version', NAME]],
      );
      assert.equal(verdictOn(SUBJECT, curation), 'given');
    });
  }

  it('drops keys that do not follow their format, cut at any byte', () => {
    const { body } = SUB;
    for (const length of [0, 1, 5, 6, 7, 8, body.length - 1]) {
      const cut = encodePacket(PACKET.publicKey, body.subarray(0, length));
      const curation = curated([source([cut, self], 'no list')]);
      assert.match(
        curation.dropped.map(({ reason }) => reason).join(),
        /^(malformed|unsupported-algorithm)$/,
      );
      assert.equal(verdictOn(SUBJECT, curation), 'given');
    }
  });

  it('drops kinds of keys that cannot be verified with', () => {
    for (const algorithm of [2, 16, 17, 18, 19, 99]) {
      const odd = bodyOf(SUB, (body) => body.writeUInt8(algorithm, 5));
      assert.match(verdictIn([odd, userId(SUB, SELF)]).join(), /^(unsupported-algorithm|malformed)$/);
    }
  });

  it('drops a key under a flood of signatures that it did not make, however new they claim to be', () => {
    const flood = new Array<Buffer>(1001).fill(forged);
    assert.deepEqual(verdictIn([self, ...flood]), ['too-large']);
  });

  it('drops a key under a flood of revocations rather than miss the true one', () => {
    const flood = new Array<Buffer>(1001).fill(
      signTest(SUB, keyHashInput(SUBJECT.body), { type: 0x20, nameless: true, unhashed: claims }),
    );
    assert.deepEqual(verdictIn([publicKeyPacket(SUBJECT), ...flood, SELF_SIGNED]), ['too-large']);
  });

  it('passes over signatures by strangers without trying them', () => {
    const stranger = certify(SUB);
    const { kept } = curated([source([self, ...new Array<Buffer>(20_000).fill(stranger)], 'no list')]);
    assert.equal(kept.length, 1);
    assert.ok((kept[0]?.certificate.length ?? 0) < 2000);
  });

  it('passes over packets and signatures that it does not know', () => {
    const odd = [
      encodePacket(2, Buffer.from([9, 9, 9])),
      encodePacket(15, Buffer.alloc(3)),
      encodePacket(2, Buffer.alloc(0)),
    ];
    const { kept, dropped } = curated([source([self, ...odd], 'no list')]);
    assert.deepEqual([kept.length, dropped.length], [1, 0]);
  });

  it('names each of ten thousand unbound keys', () => {
    const keys = Array.from({ length: 10_000 }, (_, index) =>
      bodyOf(SUB, (body) => body.writeUInt32BE(index, 1)),
    );
    const reasons = verdictIn([...keys, self]);
    assert.equal(reasons.length, 10_000);
    assert.deepEqual([...new Set(reasons)], ['no-self-signature']);
  });

  it('shows nothing that could steer a terminal', () => {
    const name = 'a\u001b[2Jb\u202ec\nd\u009be';
    const { kept } = curated([source([certificate(SUBJECT, userId(SUBJECT, SELF, name))], 'no list')]);
    assert.equal(kept[0]?.userId, 'a\ufffd[2Jb\ufffdc\ufffdd\ufffde');
  });

  it('is refused as a whole where a secret key is in it', () => {
    for (const tag of [PACKET.secretKey, PACKET.secretSubkey]) {
      assert.throws(() => source([self, encodePacket(tag, SUB.body)], 'no list'), Malformed);
    }
  });
});
