import assert from 'node:assert/strict';
import { createHash, sign } from 'node:crypto';
import { describe, it } from 'node:test';
import { keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { encodeMpi, encodePacket, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../src/trust/openpgp-check.ts';
import { defaultPolicy, type Policy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  GnupgHome,
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
  withUnknownHash,
} from '../fixtures/openpgp.ts';
import { judge, type Verdict } from '../trust/judge.ts';

/** A key that its owner took back, in words that a reader might pass over. */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const CONTENT = Buffer.from('root image\n');
const folder = await temporaryFolder();
const primary = newTestKey();
const sub = newTestKey();
const revoker = newTestKey();
const short = newTestKey(KEY_CREATED, 1024);

const cat = (...parts: readonly Uint8Array[]) => Buffer.concat(parts);
const OWN = keyHashInput(primary.body);
const HEAD = publicKeyPacket(primary);
const GOOD = cat(HEAD, userId(primary));
const WITH_SUB = cat(GOOD, subkey(primary, sub));
const TEXT = Buffer.from('Test <test@example.org>');
const NAME = 2 + TEXT.length;
const NAME_INPUT = cat(OWN, Uint8Array.of(0xb4), u32(TEXT.length), TEXT);
const LATER = KEY_CREATED + HOUR;
/** A later self-signature on the same user id, on the same subkey, on the key itself. */
const again = (wish: SignatureWish) => userId(primary, { created: LATER, ...wish }).subarray(NAME);
const boundAgain = (wish: SignatureWish, cross: SignatureWish | null = {}) =>
  subkey(primary, sub, { created: LATER, ...wish }, cross).subarray(3 + sub.body.length);
const itself = (wish: SignatureWish) => signTest(primary, OWN, { type: 0x1f, created: KEY_CREATED, ...wish });
const revocation = (by = primary, wish: SignatureWish = {}) =>
  signTest(by, OWN, { type: 0x20, created: NOW - HOUR, ...wish });
const subRevocation = signTest(primary, subkeyInput(primary, sub), { type: 0x28, created: NOW - HOUR });
const SIGNS = subpacket(27, Uint8Array.of(2));
const ENCRYPTS = subpacket(27, Uint8Array.of(0x0c));
const FOR_AN_HOUR = subpacket(3, u32(3600));
const CRITICAL_NOTATION = subpacket(0x94, cat(Uint8Array.of(0x80, 0, 0, 0, 0, 3, 0, 1), Buffer.from('a@bc')));

/** Version 3, as PGP 2 made them (RFC 4880 §5.2.2). */
function version3(type: number, input: Uint8Array, created = NOW - HOUR): Uint8Array {
  const fields = cat(Uint8Array.of(type), u32(created / 1000));
  const digest = createHash('sha256').update(input).update(fields).digest();
  return encodePacket(
    PACKET.signature,
    cat(
      Uint8Array.of(3, 5),
      fields,
      Buffer.from(primary.key.keyId, 'hex'),
      Uint8Array.of(1, 8),
      digest.subarray(0, 2),
      encodeMpi(sign('sha256', cat(input, fields), primary.privateKey)),
    ),
  );
}

/**
 * The same bytes of a number under another count of bits: gpgv takes it. The number may lack
 * leading bytes, and the count may be the lowest already, so both are looked at.
 */
function loosely(packet: Buffer): Buffer {
  const changed = Buffer.from(packet);
  for (let octets = 256; octets > 0; octets -= 1) {
    const at = changed.length - octets - 2;
    const bits = changed.readUInt16BE(at);
    if (Math.ceil(bits / 8) !== octets) continue;
    const lowest = (octets - 1) * 8 + 1;
    changed.writeUInt16BE(bits === lowest ? lowest + 1 : lowest, at);
    return changed;
  }
  throw new Error('the packet ends with no number');
}

function withAlgorithm(packet: Buffer, algorithm: number): Buffer {
  const changed = Buffer.from(packet);
  changed[5] = algorithm;
  return changed;
}

const named = (by: TestKey) =>
  subpacket(12, cat(Uint8Array.of(0x80, 1), Buffer.from(by.key.fingerprint, 'hex')));
const NAMES = itself({ hashed: [named(revoker)] });
const REVOKER = cat(publicKeyPacket(revoker), userId(revoker, {}, 'Revoker'));

const PICTURE = cat(Uint8Array.of(18, 1, 0x10, 0, 1, 1), Buffer.alloc(13));
const PICTURE_INPUT = cat(OWN, Uint8Array.of(0xd1), u32(PICTURE.length), PICTURE);
const picture = (wish: SignatureWish) =>
  cat(
    Uint8Array.of(0xc0 | PACKET.userAttribute, PICTURE.length),
    PICTURE,
    signTest(primary, PICTURE_INPUT, { type: 0x13, created: LATER, ...wish }),
  );

interface Vector {
  readonly name: string;
  readonly keyring: Uint8Array;
  readonly verdict: Verdict;
  readonly by?: TestKey;
  /** gpgv says GOODSIG, and we refuse all the same. */
  readonly gpgvTakesIt?: true;
}

const vectors: readonly Vector[] = [
  { name: 'by a key in its time', keyring: GOOD, verdict: 'verified' },
  {
    name: 'by a key revoked in version 3',
    keyring: cat(HEAD, version3(0x20, OWN), userId(primary)),
    verdict: 'revoked',
  },
  {
    name: 'by a key revoked with a number that is written loosely',
    keyring: cat(HEAD, loosely(revocation()), userId(primary)),
    verdict: 'revoked',
  },
  {
    name: 'by a key revoked with a hash that nobody knows',
    keyring: cat(HEAD, withUnknownHash(revocation()), userId(primary)),
    verdict: 'revoked',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key revoked with an algorithm that it does not have',
    keyring: cat(HEAD, withAlgorithm(revocation(), 99), userId(primary)),
    verdict: 'revoked',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key that a stranger revokes with a hash that nobody knows',
    keyring: cat(HEAD, withUnknownHash(revocation(revoker)), userId(primary)),
    verdict: 'verified',
  },
  {
    name: 'by a subkey revoked in version 3',
    keyring: cat(WITH_SUB, version3(0x28, subkeyInput(primary, sub))),
    by: sub,
    verdict: 'revoked',
  },
  {
    name: 'by a subkey revoked with a hash that nobody knows',
    keyring: cat(WITH_SUB, withUnknownHash(subRevocation)),
    by: sub,
    verdict: 'revoked',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key that its named revoker revoked',
    keyring: cat(HEAD, NAMES, revocation(revoker), userId(primary), REVOKER),
    verdict: 'revoked',
  },
  {
    name: 'by a key that its named revoker revoked, whose key is not at hand',
    keyring: cat(HEAD, NAMES, revocation(revoker), userId(primary)),
    verdict: 'revoked',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key that somebody revoked who was named by nobody but himself',
    keyring: cat(
      HEAD,
      signTest(revoker, OWN, { type: 0x1f, hashed: [named(revoker)] }),
      revocation(revoker),
      userId(primary),
      REVOKER,
    ),
    verdict: 'verified',
  },
  {
    name: 'by a key of which the second copy is revoked',
    keyring: cat(GOOD, HEAD, revocation(), userId(primary)),
    verdict: 'revoked',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key of which the first copy is revoked',
    keyring: cat(HEAD, revocation(), userId(primary), GOOD),
    verdict: 'revoked',
  },

  {
    name: 'by a key whose life was shortened with SHA-1',
    keyring: cat(GOOD, again({ hash: 'sha1', hashed: [MAY_SIGN, lives(7200)] })),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key that lost its purpose with SHA-1',
    keyring: cat(GOOD, again({ hash: 'sha1', hashed: [MAY_CERTIFY] })),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key bound again in version 3, which knows no purposes',
    keyring: cat(GOOD, version3(0x13, NAME_INPUT, LATER)),
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key bound again with a hash that nobody knows',
    keyring: cat(GOOD, withUnknownHash(again({}))),
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key bound once with a hash that nobody knows, and better since',
    keyring: cat(HEAD, userId(primary, { created: LATER }), withUnknownHash(again({ created: KEY_CREATED }))),
    verdict: 'verified',
  },
  {
    name: 'by a key bound once with SHA-1, and better since',
    keyring: cat(HEAD, userId(primary, { hash: 'sha1' }), again({})),
    verdict: 'verified',
  },
  {
    name: 'by a key bound again with a critical notation',
    keyring: cat(GOOD, again({ hashed: [MAY_SIGN, lives(7200), CRITICAL_NOTATION] })),
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key whose only user id was given up',
    keyring: cat(GOOD, again({ type: 0x30, hashed: [] })),
    verdict: 'wrong-purpose',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key whose self-signature has ended',
    keyring: cat(HEAD, userId(primary, { hashed: [MAY_SIGN, FOR_AN_HOUR] })),
    verdict: 'expired',
    gpgvTakesIt: true,
  },
  {
    name: 'by a key whose picture shortens its life',
    keyring: cat(GOOD, picture({ hashed: [MAY_SIGN, lives(7200)] })),
    verdict: 'expired',
  },
  {
    name: 'by a key whose picture takes its purpose away',
    keyring: cat(GOOD, picture({ hashed: [MAY_CERTIFY] })),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key that says itself that it does not sign, and later beside a name that it does',
    keyring: cat(HEAD, itself({ hashed: [MAY_CERTIFY] }), userId(primary, { created: LATER })),
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a key with a user id that gpgv does not read',
    keyring: cat(GOOD, userId(primary, {}, 'x'.repeat(2049))),
    verdict: 'untrusted-signer',
  },

  {
    name: 'by a subkey whose binding has ended',
    keyring: cat(GOOD, subkey(primary, sub, { hashed: [SIGNS, FOR_AN_HOUR] })),
    by: sub,
    verdict: 'expired',
  },
  {
    name: 'by a subkey whose newest binding has ended, and an older one not',
    keyring: cat(WITH_SUB, boundAgain({ hashed: [SIGNS, FOR_AN_HOUR] })),
    by: sub,
    verdict: 'expired',
    gpgvTakesIt: true,
  },
  {
    name: 'by a subkey bound again with SHA-1, for something else',
    keyring: cat(WITH_SUB, boundAgain({ hash: 'sha1', hashed: [ENCRYPTS] }, null)),
    by: sub,
    verdict: 'wrong-purpose',
  },
  {
    name: 'by a subkey of a key of 1024 bits',
    keyring: cat(publicKeyPacket(short), userId(short), subkey(short, sub)),
    by: sub,
    verdict: 'weak-algorithm',
    gpgvTakesIt: true,
  },
];

async function ask(
  keyring: Uint8Array,
  seal: Uint8Array,
  policy: Policy = defaultPolicy(NOW),
): Promise<Verdict> {
  return judge(openpgpCheck('x.sig', seal, decodeOpenpgpCertificates(keyring), policy, NOW), CONTENT);
}

function gpgvTakes(keyring: Uint8Array, signature: Uint8Array): boolean {
  const status = gpgvStatus(folder, { keyring, signature, content: CONTENT });
  return status.some((line) => line.startsWith('GOODSIG '));
}

describe('a key that was taken back', () => {
  for (const { name, keyring, verdict, by = primary, gpgvTakesIt } of vectors) {
    it(`${verdict === 'verified' ? 'holds' : `is refused (${verdict})`}: a seal ${name}`, async () => {
      const seal = signTest(by, CONTENT, { created: NOW - 2 * HOUR });
      assert.equal(await ask(keyring, seal), verdict);
      assert.equal(gpgvTakes(keyring, seal), verdict === 'verified' || gpgvTakesIt === true);
    });
  }

  it('is refused when gpg revoked it with RIPEMD-160', async () => {
    const home = new GnupgHome(folder);
    try {
      const made = NOW - 10 * DAY;
      home.run(['--quick-generate-key', 'Test <test@example.org>', 'rsa2048', 'sign', 'never'], made);
      const listed = home.run(['--with-colons', '--list-keys']).toString();
      const [, fingerprint = ''] = /^fpr:+([0-9A-F]{40}):/m.exec(listed) ?? [];
      const seal = home.run(['--no-armor', '--detach-sign'], NOW - DAY, CONTENT);
      assert.equal(await ask(home.run(['--export']), seal), 'verified');
      const words = ['--cert-digest-algo', 'RIPEMD160', '--no-batch', '--command-fd', '0', '--gen-revoke'];
      const revoked = home.run([...words, fingerprint], NOW - HOUR, 'y\n1\n\ny\n');
      home.run(['--import'], NOW, revoked);
      const keyring = home.run(['--export']);
      assert.equal(gpgvTakes(keyring, seal), false);
      assert.equal(await ask(keyring, seal), 'revoked');
    } finally {
      home.close();
    }
  });

  it('is refused with its primary key, which the policy struck off', async () => {
    const { fingerprint } = primary.key;
    const revoked = [{ id: fingerprint, hard: true, since: NOW - DAY, reason: 'lost' }];
    const policy = { ...defaultPolicy(NOW), revoked };
    assert.equal(await ask(WITH_SUB, signTest(sub, CONTENT)), 'verified');
    assert.equal(await ask(WITH_SUB, signTest(sub, CONTENT), policy), 'revoked');
  });
});

describe('a keyring made to keep its reader busy', () => {
  const SELF = encodePacket(PACKET.signature, Buffer.from('04130008000000000000000101', 'hex'));
  const flood = (count: number, signature: Uint8Array) => new Array<Uint8Array>(count).fill(signature);

  it('costs no time with a user id of 8 MiB under thousands of signatures', () => {
    const name = encodePacket(PACKET.userId, Buffer.alloc(2 ** 23, 0x41));
    assert.deepEqual(decodeOpenpgpCertificates(cat(HEAD, name, ...flood(20_000, SELF))), []);
  });

  it('costs little with a picture of 8 MiB, and leaves its key out', () => {
    const body = Buffer.alloc(2 ** 23, 0x41);
    const header = cat(Uint8Array.of(0xc0 | PACKET.userAttribute, 0xff), u32(body.length));
    const forged = signTest(sub, CONTENT, {
      type: 0x13,
      nameless: true,
      unhashed: [subpacket(16, Buffer.from(primary.key.keyId, 'hex'))],
    });
    const OTHER = cat(publicKeyPacket(sub), userId(sub));
    const read = decodeOpenpgpCertificates(cat(GOOD, header, body, ...flood(20_000, forged), OTHER));
    assert.deepEqual(
      read.map(({ primary: { fingerprint } }) => fingerprint),
      [sub.key.fingerprint],
    );
  });

  it('leaves a key out under a flood of revocations rather than miss the true one', () => {
    const forged = signTest(sub, OWN, { type: 0x20 });
    assert.deepEqual(decodeOpenpgpCertificates(cat(HEAD, ...flood(1001, forged), userId(primary))), []);
  });
});
