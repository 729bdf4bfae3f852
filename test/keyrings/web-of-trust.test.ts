import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { decodePackets, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { decodeSignature } from '../../src/formats/openpgp/openpgp-signature.ts';
import type { TrustEntry } from '../../src/formats/openpgp/trust-list.ts';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  lives,
  MAY_CERTIFY,
  MAY_SIGN,
  newTestKey,
  signTest,
  subkey,
  subpacket,
  userId,
} from '../fixtures/openpgp.ts';
import {
  BORN,
  certificate,
  certify,
  curated,
  DAY,
  type Judged,
  MAINS,
  main,
  NAME,
  revocation,
  SELF,
  SUBJECT,
  source,
  THREE_MAINS,
  trusts,
  verdictOn,
} from './web-fixtures.ts';

const [FIRST, SECOND, THIRD] = MAINS;
const SUB = newTestKey(BORN);
const SELF_SIGNED = userId(SUBJECT, SELF);
const TWO = [certify(FIRST), certify(SECOND)];
const THREE = [...TWO, certify(THIRD)];
const SOFT = subpacket(29, Uint8Array.of(32));
const YEARS = (count: number) => lives(count * 365 * 86_400);

describe('vouching', () => {
  const other = 'Other <other@example.org>';
  const cases: readonly [string, readonly Uint8Array[], string, Judged?][] = [
    ['three trusted keys suffice', THREE, 'certified'],
    ['two do not', TWO, 'below-threshold'],
    ['two do where two are asked for', TWO, 'certified', { marginals: 2 }],
    ['none does not, of course', [], 'below-threshold'],
    ['one key counts once', [...TWO, certify(FIRST, { created: BORN + 2 * DAY })], 'below-threshold'],
    ['its own word is no vouching', [...TWO, certify(SUBJECT)], 'below-threshold'],
    ['a stranger does not count', [...TWO, certify(SUB)], 'below-threshold'],
    [
      'votes for two user ids are not added up',
      [...TWO, userId(SUBJECT, SELF, other), certify(THIRD, { name: other })],
      'below-threshold',
    ],
    [
      'one that may not leave its machine',
      [...TWO, certify(THIRD, { hashed: [subpacket(4, Uint8Array.of(0))] })],
      'below-threshold',
    ],
    ['one that may', [...TWO, certify(THIRD, { hashed: [subpacket(4, Uint8Array.of(1))] })], 'certified'],
    ['one that says that nothing was checked', [...TWO, certify(THIRD, { type: 0x11 })], 'below-threshold'],
    [
      'one dated later than the stated time',
      [...TWO, certify(THIRD, { created: NOW + 1000 })],
      'below-threshold',
    ],
    [
      'one that has ended',
      [...TWO, certify(THIRD, { hashed: [subpacket(3, Buffer.from('00015180', 'hex'))] })],
      'below-threshold',
    ],
    [
      'one older than the key it is by',
      [...TWO, certify(THIRD, { created: BORN - 1000 })],
      'below-threshold',
    ],
    ['one without a date', [...TWO, certify(THIRD, { timeless: true })], 'below-threshold'],
    [
      'one that says something critical and unknown',
      [...TWO, certify(THIRD, { hashed: [subpacket(0x80 | 99, Uint8Array.of(1))] })],
      'below-threshold',
    ],
    ['one over another name', [...TWO, certify(THIRD, { name: other })], 'below-threshold'],
    ['one for another key', [...TWO, certify(THIRD, {}, FIRST)], 'below-threshold'],
    [
      'one that only claims to be by a trusted key',
      [
        ...TWO,
        certify(SUB, { nameless: true, unhashed: [subpacket(16, Buffer.from(THIRD.key.keyId, 'hex'))] }),
      ],
      'below-threshold',
    ],
    ['one that names its maker by key id alone', [...TWO, certify(THIRD, { nameless: true })], 'certified'],
    [
      'SHA-1 of the time when it was good, judged today',
      [...TWO, certify(THIRD, { hash: 'sha1' })],
      'below-threshold',
    ],
    [
      'SHA-1, judged as of a time when it was good',
      [...TWO, certify(THIRD, { hash: 'sha1' })],
      'certified',
      { at: Date.UTC(2012, 5) },
    ],
    [
      'SHA-1, under a policy that counts second preimages',
      [...TWO, certify(THIRD, { hash: 'sha1' })],
      'certified',
      { at: Date.UTC(2023, 0, 31), policy: 'sequoia' },
    ],
    [
      'SHA-1, under that policy and one day later',
      [...TWO, certify(THIRD, { hash: 'sha1' })],
      'below-threshold',
      { at: Date.UTC(2023, 1, 1), policy: 'sequoia' },
    ],
    [
      'SHA-1, as long as apt takes it',
      [...TWO, certify(THIRD, { hash: 'sha1' })],
      'certified',
      { at: Date.UTC(2026, 0, 31), policy: 'apt' },
    ],
    [
      'one taken back',
      [...THREE, certify(THIRD, { type: 0x30, created: BORN + 2 * DAY })],
      'below-threshold',
    ],
    ['one taken back at the same moment', [...THREE, certify(THIRD, { type: 0x30 })], 'below-threshold'],
    [
      'one given again after that',
      [...THREE, certify(THIRD, { type: 0x30 }), certify(THIRD, { created: BORN + 2 * DAY })],
      'certified',
    ],
    [
      'one that another took back',
      [
        ...THREE,
        certify(SECOND, {
          type: 0x30,
          nameless: true,
          unhashed: [subpacket(16, Buffer.from(THIRD.key.keyId, 'hex'))],
        }),
      ],
      'certified',
    ],
    [
      'one taken back for a soft reason later than the stated time',
      [...THREE, certify(THIRD, { type: 0x30, created: NOW + DAY, hashed: [SOFT] })],
      'certified',
    ],
    [
      'one taken back without a reason later than the stated time',
      [...THREE, certify(THIRD, { type: 0x30, created: NOW + DAY })],
      'below-threshold',
    ],
  ];
  for (const [what, signatures, verdict, judged] of cases) {
    it(`${verdict === 'certified' ? 'counts' : 'falls short'}: ${what}`, () => {
      const curation = curated(
        [source([...THREE_MAINS, certificate(SUBJECT, SELF_SIGNED, ...signatures)])],
        judged,
      );
      assert.equal(verdictOn(SUBJECT, curation), verdict);
    });
  }

  const thirds: readonly [string, Uint8Array, (readonly TrustEntry[])?, (readonly string[])?][] = [
    ['was compromised, whenever it says so', main(THIRD, revocation(THIRD, 2, NOW + DAY))],
    ['was revoked without a reason', main(THIRD, revocation(THIRD, undefined, BORN + DAY))],
    ['was superseded', main(THIRD, revocation(THIRD, 1, NOW - DAY))],
    ['has ended', certificate(THIRD, userId(THIRD, { ...SELF, hashed: [MAY_SIGN, YEARS(1)] }))],
    ['is bound with SHA-1', certificate(THIRD, userId(THIRD, { ...SELF, hash: 'sha1' }))],
    [
      'may not certify',
      certificate(THIRD, userId(THIRD, { ...SELF, hashed: [subpacket(27, Uint8Array.of(2))] })),
    ],
    ['is on the list of the revoked', main(THIRD), trusts(MAINS), [THIRD.key.fingerprint]],
    ['is never to be trusted', main(THIRD), [...trusts([FIRST, SECOND]), ...trusts([THIRD], 3)]],
    ['is not on the list', main(THIRD), trusts([FIRST, SECOND])],
  ];
  for (const [what, third, trusted, revoked] of thirds) {
    it(`falls short where one of three trusted keys ${what}`, () => {
      const mains = [main(FIRST), main(SECOND), third];
      const curation = curated([
        source([...mains, certificate(SUBJECT, SELF_SIGNED, ...THREE)], trusted, revoked),
      ]);
      assert.equal(verdictOn(SUBJECT, curation), 'below-threshold');
    });
  }

  it('counts a trusted key that may certify and not sign; it is no part of the list itself', () => {
    const third = certificate(THIRD, userId(THIRD, { ...SELF, hashed: [MAY_CERTIFY] }));
    const curation = curated([
      source([main(FIRST), main(SECOND), third, certificate(SUBJECT, SELF_SIGNED, ...THREE)]),
    ]);
    assert.equal(verdictOn(SUBJECT, curation), 'certified');
    assert.equal(verdictOn(THIRD, curation), 'no-signing-key');
  });

  it('keeps what is on the list without trust, and lets it vouch for nobody', () => {
    const curation = curated([source([...THREE_MAINS], [...trusts([FIRST]), ...trusts([SECOND], 3)])]);
    assert.deepEqual(
      [FIRST, SECOND, THIRD].map((key) => verdictOn(key, curation)),
      ['trusted', 'listed', 'below-threshold'],
    );
    assert.deepEqual(curation.introducers, [FIRST.key.fingerprint]);
  });

  it('keeps every sound certificate of a source without a list', () => {
    const given = source([certificate(SUBJECT, SELF_SIGNED)], 'no list');
    assert.equal(verdictOn(SUBJECT, curated([given])), 'given');
    assert.equal(verdictOn(SUBJECT, curated([source(THREE_MAINS), given])), 'given');
  });

  it('keeps what one source gives without a list, whatever another with a list makes of it', () => {
    const given = source([certificate(SUBJECT, SELF_SIGNED)], 'no list');
    const listed = source([...THREE_MAINS, certificate(SUBJECT, SELF_SIGNED)]);
    assert.equal(verdictOn(SUBJECT, curated([listed])), 'below-threshold');
    assert.equal(verdictOn(SUBJECT, curated([listed, given])), 'given');
  });

  it('names trusted keys that no source holds', () => {
    assert.deepEqual(curated([source([main(FIRST)], trusts([FIRST, SECOND]))]).absent, [
      SECOND.key.fingerprint,
    ]);
  });

  it('shows and emits the certified user id, not one that nobody vouches for', () => {
    const boast = 'Release Manager <root@example.org>';
    const parts = [SELF_SIGNED, ...THREE, userId(SUBJECT, { created: NOW - DAY }, boast)];
    const [kept] = curated([source([certificate(SUBJECT, ...parts), ...THREE_MAINS])]).kept.filter(
      ({ fingerprint }) => fingerprint === SUBJECT.key.fingerprint,
    );
    assert.equal(kept?.userId, NAME);
    assert.deepEqual(decodeOpenpgpCertificates(kept.certificate)[0]?.userIds, [NAME]);
    assert.deepEqual(kept.certifiers, MAINS.map(({ key }) => key.fingerprint).sort());
  });

  it('does not let a key outlive its owner’s last word, given on a user id that nobody vouches for', () => {
    const limited = { created: NOW - DAY, hashed: [MAY_SIGN, YEARS(20)] };
    const parts = [SELF_SIGNED, ...THREE, userId(SUBJECT, limited, 'Other <other@example.org>')];
    const curation = curated([source([certificate(SUBJECT, ...parts), ...THREE_MAINS])]);
    assert.equal(verdictOn(SUBJECT, curation), 'below-threshold');
  });
});

describe('what is emitted', () => {
  const noise = [
    subpacket(16, Buffer.from(SUBJECT.key.keyId, 'hex')),
    subpacket(20, Buffer.alloc(64, 1)),
    subpacket(27, Uint8Array.of(0)),
  ];
  const revoked = newTestKey(BORN);
  const parts = [
    userId(SUBJECT, { ...SELF, unhashed: noise }),
    ...THREE,
    userId(SUBJECT, { created: BORN - 1000 }, 'Older <older@example.org>'),
    subkey(SUBJECT, SUB, SELF, SELF),
  ];
  const sources = [source([certificate(SUBJECT, ...parts), ...THREE_MAINS])];
  const find = () => {
    const kept = curated(sources).kept.find(({ fingerprint }) => fingerprint === SUBJECT.key.fingerprint);
    assert.ok(kept);
    return kept;
  };

  it('is a primary key, a user id and its signing keys, with one signature each, in old-format packets', () => {
    const packets = decodePackets(find().certificate, 10);
    assert.deepEqual(
      packets.map(({ tag }) => tag),
      [PACKET.publicKey, PACKET.userId, PACKET.signature, PACKET.publicSubkey, PACKET.signature],
    );
    for (const { raw } of packets) assert.equal((raw[0] ?? 0) & 0xc0, 0x80);
  });

  it('holds nothing that anybody may have written into an unhashed area', () => {
    for (const { tag, body } of decodePackets(find().certificate, 10)) {
      if (tag !== PACKET.signature) continue;
      const unhashed = decodeSignature(body).subpackets.filter(({ hashed }) => !hashed);
      assert.deepEqual(
        unhashed.map(({ type, body: value }) => [type, Buffer.from(value).toString('hex')]),
        [[16, SUBJECT.key.keyId]],
      );
    }
  });

  it('is the same in whatever order and however often the sources tell it', () => {
    const reversed = source([...THREE_MAINS].reverse().concat(certificate(SUBJECT, ...parts)));
    const bytes = (list: typeof sources) =>
      curated(list).kept.map(({ certificate: octets }) => Buffer.from(octets).toString('hex'));
    assert.deepEqual(bytes([reversed, ...sources]), bytes(sources));
  });

  it('tells which keys sign, and until when', () => {
    const limited = [
      userId(SUBJECT, { ...SELF, hashed: [MAY_SIGN, YEARS(20)] }),
      subkey(SUBJECT, SUB, { ...SELF, hashed: [subpacket(27, Uint8Array.of(2)), YEARS(18)] }, SELF),
    ];
    const [kept] = curated([source([certificate(SUBJECT, ...limited)], 'no list')]).kept;
    assert.deepEqual(kept?.signingKeys, [SUBJECT.key.fingerprint, SUB.key.fingerprint]);
    assert.equal(kept.until, BORN + 20 * 365 * DAY);
  });

  it('keeps a revoked signing key with its revocation, so that it is told from an unknown one', () => {
    const words = subkey(SUBJECT, revoked, SELF, SELF);
    const input = Buffer.concat([keyHashInput(SUBJECT.body), keyHashInput(revoked.body)]);
    const taken = signTest(SUBJECT, input, { type: 0x28, created: NOW - DAY });
    const [kept] = curated([source([certificate(SUBJECT, SELF_SIGNED, words, taken)], 'no list')]).kept;
    const [read] = decodeOpenpgpCertificates(kept?.certificate ?? Buffer.alloc(0));
    assert.deepEqual(
      read?.keys.map(({ key, revoked: isRevoked }) => [key.fingerprint, isRevoked]),
      [
        [SUBJECT.key.fingerprint, false],
        [revoked.key.fingerprint, true],
      ],
    );
    assert.deepEqual(kept?.signingKeys, [SUBJECT.key.fingerprint]);
  });
});
