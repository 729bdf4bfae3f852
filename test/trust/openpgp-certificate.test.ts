import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../src/errors/malformed.ts';
import { keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { decodePackets, encodePacket, PACKET } from '../../src/formats/openpgp/openpgp-packet.ts';
import { decodeOpenpgpCertificates, type SigningKey } from '../../src/trust/openpgp-certificate.ts';
import {
  KEY_CREATED,
  lives,
  MAY_CERTIFY,
  MAY_SIGN,
  newTestKey,
  publicKeyPacket,
  signTest,
  subkey,
  subpacket,
  userId,
} from '../fixtures/openpgp.ts';
import { demandFlipsHandled, malformed } from '../formats/strict.ts';

const DAY = 86_400_000;
const primary = newTestKey();
const sub = newTestKey();
const other = newTestKey();
const packet = publicKeyPacket(primary);
const WHOLE = Buffer.concat([packet, userId(primary), subkey(primary, sub)]);

/** What one certificate says of its keys. */
function keys(...packets: Uint8Array[]): readonly SigningKey[] {
  const [certificate, ...more] = decodeOpenpgpCertificates(Buffer.concat(packets));
  assert.ok(certificate);
  assert.deepEqual(more, []);
  return certificate.keys;
}

describe('an OpenPGP certificate', () => {
  it('holds its keys and its user ids', () => {
    const [certificate] = decodeOpenpgpCertificates(WHOLE);
    assert.deepEqual(certificate?.userIds, ['Test <test@example.org>']);
    assert.equal(certificate?.primary.fingerprint, primary.key.fingerprint);
    assert.deepEqual(
      certificate?.keys.map(({ key, maySign, expires, revoked }) => [
        key.fingerprint,
        maySign,
        expires,
        revoked,
      ]),
      [
        [primary.key.fingerprint, true, undefined, false],
        [sub.key.fingerprint, true, undefined, false],
      ],
    );
  });

  it('gives a key the life and the purpose of its newest self-signature', () => {
    const older = userId(primary, { hashed: [MAY_SIGN, lives(DAY / 1000)] }, 'Older');
    const newer = userId(
      primary,
      { created: KEY_CREATED + 1000, hashed: [MAY_CERTIFY, lives((2 * DAY) / 1000)] },
      'Newer',
    );
    for (const order of [
      [older, newer],
      [newer, older],
    ]) {
      const [key] = keys(packet, ...order);
      assert.deepEqual([key?.maySign, key?.expires], [false, KEY_CREATED + 2 * DAY]);
    }
  });

  it('ends a subkey with its primary key, or before', () => {
    const ends = (days: number) => lives((days * DAY) / 1000);
    const bound = (days: number) => subkey(primary, sub, { hashed: [MAY_SIGN, ends(days)] });
    for (const [mine, its, expires] of [
      [3, 5, 3],
      [5, 3, 3],
    ] as const) {
      const [, key] = keys(packet, userId(primary, { hashed: [MAY_SIGN, ends(its)] }), bound(mine));
      assert.equal(key?.expires, KEY_CREATED + expires * DAY);
    }
  });

  it('takes no life from a number of zero, nor from bytes that no signature covers', () => {
    const [never] = keys(packet, userId(primary, { hashed: [MAY_SIGN, lives(0)] }));
    assert.deepEqual([never?.maySign, never?.expires], [true, undefined]);
    const [bare] = keys(packet, userId(primary, { hashed: [MAY_CERTIFY], unhashed: [MAY_SIGN, lives(1)] }));
    assert.deepEqual([bare?.maySign, bare?.expires], [false, undefined]);
  });

  it('lets a key of whose use nothing is said do what it can, and one of empty flags nothing', () => {
    for (const [flags, may] of [
      [[], true],
      [[subpacket(27, new Uint8Array(0))], false],
      [[subpacket(27, Uint8Array.of(0))], false],
    ] as const) {
      assert.equal(keys(packet, userId(primary, { hashed: flags }))[0]?.maySign, may);
    }
    // What it said before on another name it still keeps to.
    const older = userId(primary, { hashed: [MAY_CERTIFY] }, 'Older');
    const newer = userId(primary, { created: KEY_CREATED + 1000, hashed: [] }, 'Newer');
    assert.equal(keys(packet, older, newer)[0]?.maySign, false);
  });

  it('is not bound by a signature over another user id, or by another key', () => {
    const mine = userId(primary);
    const changed = Buffer.from(mine);
    changed.write('Pest', 2);
    const foreign = userId(other);
    const [signature] = decodePackets(mine, 2).slice(1);
    const alone = signature?.raw ?? new Uint8Array();
    for (const [name, packets] of Object.entries({
      'a changed user id': [changed],
      'a foreign signature': [foreign],
      'a signature on nothing': [alone],
    })) {
      assert.equal(keys(packet, ...packets)[0]?.maySign, false, name);
    }
  });

  it('does not let a subkey be adopted by somebody who does not hold it', () => {
    const [, adopted] = keys(packet, userId(primary), subkey(primary, other, {}, null));
    assert.deepEqual([adopted?.key.fingerprint, adopted?.maySign], [other.key.fingerprint, false]);
    // The agreement of a subkey with one primary key is none with another.
    const theirs = decodePackets(Buffer.concat([publicKeyPacket(other), subkey(other, sub)]), 3).slice(1);
    const [, stolen] = keys(packet, userId(primary), ...theirs.map(({ raw }) => raw));
    assert.equal(stolen?.maySign, false);
  });

  it('is read one after the other', () => {
    const two = decodeOpenpgpCertificates(Buffer.concat([WHOLE, publicKeyPacket(other), userId(other)]));
    assert.deepEqual(
      two.map(({ keys: all }) => all.length),
      [2, 1],
    );
    assert.deepEqual(decodeOpenpgpCertificates(new Uint8Array()), []);
  });

  it('is left out where its primary key is of no kind we know', () => {
    const ancient = encodePacket(PACKET.publicKey, Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 1));
    assert.deepEqual(decodeOpenpgpCertificates(ancient), []);
    const certificates = decodeOpenpgpCertificates(Buffer.concat([ancient, userId(primary), WHOLE]));
    assert.deepEqual(
      certificates.map(({ primary: key }) => key.fingerprint),
      [primary.key.fingerprint],
    );
  });

  it('is passed over where gpg keeps its own notes', () => {
    const note = encodePacket(PACKET.trust, Uint8Array.of(0, 0));
    assert.equal(keys(packet, note, userId(primary), note)[0]?.maySign, true);
  });

  it('survives subkeys and signatures that cannot be read, without them', () => {
    const broken = encodePacket(PACKET.publicSubkey, Uint8Array.of(6, 1));
    const torn = encodePacket(PACKET.signature, Uint8Array.of(3, 5));
    assert.deepEqual(keys(packet, torn, userId(primary), broken, torn).length, 1);
  });

  const secret = encodePacket(PACKET.secretKey, primary.body);
  const refused: Readonly<Record<string, [Uint8Array, RegExp]>> = {
    'a secret key': [Buffer.concat([secret, userId(primary)]), /a secret key among public ones/],
    'a secret subkey': [
      Buffer.concat([WHOLE, encodePacket(PACKET.secretSubkey, sub.body)]),
      /a secret key among public ones/,
    ],
    'a user id before any key': [userId(primary), /packet type 13 before any public key/],
    'a signature before any key': [signTest(primary, keyHashInput(primary.body)), /a signature, and no key/],
    armor: [Buffer.from('-----BEGIN PGP PUBLIC KEY BLOCK-----\n'), /no packet header/],
  };
  for (const [name, [bytes, fact]] of Object.entries(refused)) {
    it(`is refused in a keyring with ${name}`, () =>
      assert.throws(() => decodeOpenpgpCertificates(bytes), malformed(fact)));
  }

  it('is refused cut within a packet, and has fewer keys that sign cut between packets', () => {
    const ends = new Set<number>();
    let at = 0;
    for (const { raw } of decodePackets(WHOLE, 9)) {
      at += raw.length;
      ends.add(at);
    }
    for (let length = 1; length < WHOLE.length; length++) {
      const cut = WHOLE.subarray(0, length);
      if (!ends.has(length))
        assert.throws(() => decodeOpenpgpCertificates(cut), Malformed, `cut at ${length}`);
      else assert.ok(keys(cut).filter(({ maySign }) => maySign).length < 2);
    }
  });

  it('never breaks its reader with a byte changed', () => {
    assert.ok(demandFlipsHandled(decodeOpenpgpCertificates, Buffer.concat([packet, userId(primary)])) > 3);
  });
});
