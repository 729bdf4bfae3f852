import { Malformed } from '../../errors/malformed.ts';
import { decodeOpenpgpKey, type OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import {
  decodeDetachedOpenpgp,
  decodeSignature,
  find,
  type OpenpgpSignature,
  readSignatureClaim,
  SUBPACKET,
} from '../../formats/openpgp/openpgp-signature.ts';
import type { Part, TransferableKey } from '../../formats/openpgp/openpgp-transferable.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { Facts, Recognised, SealFacts } from './facts.ts';

/** RFC 9580 §9.1. */
const ALGORITHMS: ReadonlyMap<number, string> = new Map([
  [1, 'RSA'],
  [2, 'RSA (encrypts only)'],
  [3, 'RSA (signs only)'],
  [16, 'Elgamal'],
  [17, 'DSA'],
  [18, 'ECDH'],
  [19, 'ECDSA'],
  [22, 'EdDSA'],
  [25, 'X25519'],
  [26, 'X448'],
  [27, 'Ed25519'],
  [28, 'Ed448'],
]);
/** RFC 9580 §5.2.1, as far as a file of signatures may hold them. */
const TYPES: ReadonlyMap<number, string> = new Map([
  [0x00, 'binary document'],
  [0x01, 'text document'],
  [0x02, 'standalone'],
  [0x10, 'certification'],
  [0x11, 'certification'],
  [0x12, 'certification'],
  [0x13, 'certification'],
  [0x18, 'subkey binding'],
  [0x19, 'primary key binding'],
  [0x1f, 'direct key'],
  [0x20, 'key revocation'],
  [0x28, 'subkey revocation'],
  [0x30, 'certification revocation'],
]);
/** Signatures by which a key speaks of itself, and may say when it ends. */
const SELF: ReadonlySet<number> = new Set([0x10, 0x11, 0x12, 0x13, 0x1f]);
const SUBKEY_BINDING: ReadonlySet<number> = new Set([0x18]);
const KEY_REVOCATION = 0x20;
const SUBKEY_REVOCATION = 0x28;

/** What a file of detached signatures says. Throws `Malformed`. */
export function inspectSignatures(bytes: Uint8Array): Recognised {
  const signatures = decodeDetachedOpenpgp(bytes);
  return {
    kind: 'openpgp-signature',
    seals: signatures.map(sealFacts),
    facts: { signatures: signatures.map(signatureFacts) },
  };
}

function sealFacts(signature: OpenpgpSignature): SealFacts {
  return {
    kind: 'OpenPGP',
    signer: signature.issuerFingerprint ?? signature.issuerKeyId,
    hash: signature.hash,
    key: algorithmName(signature.algorithm),
    time: optionalTime(signature.created),
    notBefore: undefined,
    notAfter: undefined,
  };
}

function signatureFacts(signature: OpenpgpSignature): Facts {
  const { type, algorithm, hash, created, expiresAfter } = signature;
  return {
    type: TYPES.get(type) ?? `type ${type}`,
    issuerFingerprint: signature.issuerFingerprint,
    issuerKeyId: signature.issuerKeyId,
    key: algorithmName(algorithm),
    hash,
    created: optionalTime(created),
    expires: endOf(created, expiresAfter),
    notations: signature.subpackets.filter((subpacket) => subpacket.type === SUBPACKET.notation).length,
  };
}

/** What public keys say of themselves; whether their own signatures hold is not asked. */
export function inspectKeys(keys: readonly TransferableKey[]): Recognised {
  return { kind: 'openpgp-keys', facts: { keys: keys.map(keyFacts) } };
}

function keyFacts(parts: TransferableKey): Facts {
  const [primary, ...rest] = parts;
  const users = rest.filter(({ packet }) => packet.tag === PACKET.userId);
  const subkeys = rest.filter(({ packet }) => packet.tag === PACKET.publicSubkey);
  const own = [primary, ...users].flatMap(({ signatures }) => signatures.map(({ body }) => body));
  return {
    ...oneKey(primary, own, SELF, KEY_REVOCATION),
    userIds: users.map(({ packet }) => Buffer.from(packet.body).toString('utf8')),
    subkeys: subkeys.map((part) =>
      oneKey(
        part,
        part.signatures.map(({ body }) => body),
        SUBKEY_BINDING,
        SUBKEY_REVOCATION,
      ),
    ),
  };
}

/** Of a key that we cannot read there is nothing but why. */
function oneKey(
  { packet }: Part,
  signatures: readonly Uint8Array[],
  speaking: ReadonlySet<number>,
  revocation: number,
): Facts {
  let key: OpenpgpKey;
  try {
    key = decodeOpenpgpKey(packet.body);
  } catch (error) {
    if (error instanceof Malformed) return { unreadable: error.message };
    throw error;
  }
  const { fingerprint, keyId, created, algorithm, bits } = key;
  return {
    fingerprint,
    keyId,
    created: isoSeconds(created),
    expires: endOf(created, lifetime(signatures, key, speaking)),
    key: [algorithmName(algorithm), ...(bits > 0 ? [bits] : [])].join(' '),
    // A stranger's is one too: whose it is, a verifier asks.
    revocations: signatures.filter((body) => readSignatureClaim(body).type === revocation).length,
  };
}

/** Seconds from a key's creation to its end, as the newest signature says that names the key as its maker. */
function lifetime(
  signatures: readonly Uint8Array[],
  { fingerprint, keyId }: OpenpgpKey,
  speaking: ReadonlySet<number>,
): number | undefined {
  const readable = signatures.flatMap((body) => {
    try {
      return [decodeSignature(body)];
    } catch (error) {
      if (error instanceof Malformed) return [];
      throw error;
    }
  });
  const own = readable.filter(
    ({ type, issuerKeyId, issuerFingerprint }) =>
      speaking.has(type) && (type === 0x18 || issuerKeyId === keyId || issuerFingerprint === fingerprint),
  );
  const newest = own.sort((a, b) => (b.created ?? 0) - (a.created ?? 0))[0];
  const body = newest && find(newest.subpackets, SUBPACKET.keyExpirationTime)?.body;
  return body?.length === 4 ? Buffer.from(body).readUInt32BE() : undefined;
}

/** Nothing where it never ends. */
function endOf(created: number | undefined, seconds: number | undefined): string | undefined {
  return created === undefined || !seconds ? undefined : isoSeconds(created + seconds * 1000);
}

function optionalTime(time: number | undefined): string | undefined {
  return time === undefined ? undefined : isoSeconds(time);
}

function algorithmName(id: number): string {
  return ALGORITHMS.get(id) ?? `algorithm ${id}`;
}
