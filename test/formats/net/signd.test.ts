import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import {
  decodeAnswer,
  decodeReply,
  decodeSigndSignature,
  encodeSignRequest,
  isSigndUser,
  replyLength,
} from '../../../src/formats/net/signd.ts';
import { encodeMpi, encodePacket } from '../../../src/formats/openpgp/openpgp-packet.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const DIGEST = Buffer.alloc(32, 0xa5);
const HEX = 'a5'.repeat(32);

it('the old framing names user and argument, the hash before the digest', () => {
  const wire = Buffer.from(encodeSignRequest('old', 'key', 'sha256', DIGEST));
  assert.equal(wire.toString('latin1'), `\0\x03\0\x52keySHA256:${HEX}@0000000000`);
});

it('the new framing is a list of arguments, the hash before the user', () => {
  const wire = Buffer.from(encodeSignRequest('new', 'key', 'sha256', DIGEST));
  const words = ['sign', 'SHA256:key', `${HEX}@0000000000`];
  const lengths = `\0\x03\0\x04\0\x0a\0\x4b`;
  assert.equal(wire.toString('latin1'), `\0\x61\0\0${lengths}${words.join('')}`);
});

it('SHA-512 is named as such', () => {
  const wire = Buffer.from(encodeSignRequest('old', 'key', 'sha512', Buffer.alloc(64))).toString('latin1');
  assert.ok(wire.includes(`SHA512:${'00'.repeat(64)}@`));
  assert.throws(
    () => encodeSignRequest('old', 'key', 'sha512', DIGEST),
    malformed(/SHA512 digest of 32 bytes/),
  );
});

it('users that are no file name on the server are refused', () => {
  for (const user of [
    '',
    '.',
    '.hidden',
    '../x',
    'a/b',
    'a\nb',
    'a\0',
    '\x7f',
    'x'.repeat(256),
    'é'.repeat(128),
  ]) {
    assert.ok(!isSigndUser(user), user);
    assert.throws(() => encodeSignRequest('new', user, 'sha256', DIGEST), malformed(/no name of a key/));
  }
  for (const user of ['key@obs', 'site key', 'a.b', 'Jörg']) assert.ok(isSigndUser(user), user);
});

it('a reply says how long it is, and is taken at that length alone', () => {
  const wire = bytes('0001 0002 0003 aabb 636465');
  assert.deepEqual(decodeReply(wire), { status: 1, out: bytes('aabb'), err: Buffer.from('cde') });
  assert.equal(replyLength(wire.subarray(0, 5)), undefined);
  assert.equal(replyLength(wire), 11);
  assert.equal(replyLength(bytes('0000 ffff ffff')), 131_076);
  demandCutsRefused(decodeReply, wire);
  demandNothingAfter(decodeReply, wire);
});

it('an answer in the new framing is a list of one', () => {
  const wire = bytes('0001 0002 aabb');
  assert.deepEqual(decodeAnswer('new', wire), bytes('aabb'));
  assert.deepEqual(decodeAnswer('old', wire), wire);
  demandCutsRefused((octets) => decodeAnswer('new', octets), wire);
  demandNothingAfter((octets) => decodeAnswer('new', octets), wire);
  assert.throws(() => decodeAnswer('new', bytes('0002 0001 0001 aabb')), malformed(/2 answers/));
  assert.throws(() => decodeAnswer('new', bytes('0000 0000')), malformed(/0 answers/));
});

/** Version, 5 hashed bytes, key id, algorithms, left 16 bits, numbers. */
function v3(
  numbers: readonly Uint8Array[],
  { algorithm = 1, hash = 8, left = 'a5a5', five = 5 } = {},
): Buffer {
  const head = bytes('0000000000 1122334455667788');
  const body = [Buffer.of(3, five), head, Buffer.of(algorithm, hash), bytes(left), ...numbers.map(encodeMpi)];
  return Buffer.from(encodePacket(2, Buffer.concat(body)));
}
const NUMBER = Buffer.from('7f'.repeat(256), 'hex');
const decode = (packet: Uint8Array) => decodeSigndSignature(packet, 'sha256', DIGEST);

it('of a version 3 signature the numbers are kept', () => {
  assert.deepEqual(decode(v3([NUMBER])), { kind: 'rsa', s: NUMBER });
  const [r, s] = [bytes('01'), bytes('ff02')];
  assert.deepEqual(decode(v3([r, s], { algorithm: 19 })), { kind: 'ecdsa', r, s });
});

it('of a version 4 signature too', () => {
  const fields = bytes('04000108 0006 0502 00000000 000a 0910 1122334455667788 a5a5');
  const packet = encodePacket(2, Buffer.concat([fields, encodeMpi(NUMBER)]));
  assert.deepEqual(decode(packet), { kind: 'rsa', s: NUMBER });
  assert.throws(
    () => decodeSigndSignature(packet, 'sha256', Buffer.alloc(32, 0xa6)),
    malformed(/over another digest/),
  );
});

const wrong: readonly [string, Uint8Array, RegExp][] = [
  ['nothing', Buffer.alloc(0), /not one OpenPGP signature/],
  ['two signatures', Buffer.concat([v3([NUMBER]), v3([NUMBER])]), /not one/],
  ['another packet', encodePacket(13, Buffer.from('name')), /not one/],
  ['armour', Buffer.from('-----BEGIN PGP SIGNATURE-----\n'), /no packet header/],
  ['another hash', v3([NUMBER], { hash: 2 }), /hash algorithm 2, not SHA256/],
  ['another digest', v3([NUMBER], { left: 'a5a6' }), /another digest/],
  ['more hashed bytes than five', v3([NUMBER], { five: 6 }), /other than 5/],
  ['an EdDSA signature', v3([NUMBER, NUMBER], { algorithm: 22 }), /2 numbers .* algorithm 22/],
  ['an RSA signature of two numbers', v3([NUMBER, NUMBER]), /2 numbers/],
  ['an ECDSA signature of one', v3([NUMBER], { algorithm: 19 }), /1 numbers/],
  ['an ECDSA signature of three', v3([NUMBER, NUMBER, NUMBER], { algorithm: 19 }), /3 numbers/],
  ['no number', v3([]), /0 numbers/],
];
for (const [what, packet, fact] of wrong) {
  it(`${what} where a signature belongs is malformed`, () => {
    assert.throws(() => decode(packet), malformed(fact));
  });
}

it('a signature cut short or changed is handled', () => {
  demandCutsRefused(decode, v3([NUMBER]));
  demandNothingAfter(decode, v3([NUMBER]));
  assert.ok(demandFlipsHandled(decode, v3([bytes('0102'), bytes('03')], { algorithm: 19 })) > 20);
});

it('replies come out as they went in', () => {
  fc.assert(
    fc.property(
      fc.nat(0xffff),
      fc.uint8Array({ maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }),
      (status, out, err) => {
        const head = Buffer.alloc(6);
        head.writeUInt16BE(status, 0);
        head.writeUInt16BE(out.length, 2);
        head.writeUInt16BE(err.length, 4);
        const decoded = decodeReply(Buffer.concat([head, out, err]));
        assert.deepEqual([decoded.status, [...decoded.out], [...decoded.err]], [status, [...out], [...err]]);
      },
    ),
  );
});
