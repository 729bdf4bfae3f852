import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { encodePacket, PACKET } from '../formats/openpgp/openpgp-packet.ts';
import { splitTransferableKeys } from '../formats/openpgp/openpgp-transferable.ts';
import { decodeOpenpgpCertificates, type SigningKey } from '../trust/openpgp-certificate.ts';
import { day, defaultPolicy, demandStrong } from '../trust/policy.ts';

/** More would have to be looked through for each file that GRUB opens. */
const MAX_PACKETS = 200;

/** A key as GRUB is given it. */
export interface GrubKey {
  /** 16 hex digits. */
  readonly keyId: string;
  /** One public key packet with an old-format header. */
  readonly packet: Uint8Array;
}

/**
 * The keys that GRUB shall trust, for its image. GRUB's loader (grub-core/commands/pgp.c) takes every key and
 * subkey packet of the file it is given, with no look at self-signature, revocation, date or length. So it is
 * given key packets alone: those that may sign, old-format headers, nothing that GRUB would have to pass over.
 *
 * Throws a `Refusal` (`unsafe-keys`) where any key of the file is one that verification would not take: who
 * finds it there would think that GRUB does. A sound key that does not sign is merely left out.
 *
 * @param name of the file, for refusals: `script.gpg`.
 * @param bytes binary certificates; several while a key is being replaced.
 * @param now milliseconds since 1970.
 */
export function grubKeyring(name: string, bytes: Uint8Array, now: number): readonly GrubKey[] {
  const keys = new Map<string, GrubKey>();
  for (const found of keysIn(name, bytes)) {
    demandSound(name, found, now);
    if (!found.maySign) continue;
    const { fingerprint, keyId, type, body } = found.key;
    if (type !== 'rsa') throw unfit(name, `it is ${type}, and GRUB verifies RSA (and DSA, too weak today)`);
    // A subkey becomes a key of its own: to GRUB they are the same, and its primary key need not sign.
    keys.set(fingerprint, { keyId, packet: encodePacket(PACKET.publicKey, body) });
  }
  if (keys.size === 0) throw unfit(name, 'no key in it may sign');
  return [...keys.values()];
}

/**
 * Throws a `Refusal` (`unsafe-keys`) unless GRUB tells all these keys apart. `distrust` compares the last 8 hex
 * digits of an id and no more: with two keys that agree there it may strike off the payload key and keep the
 * script key. Who can try 2³² keys can make such a pair.
 */
export function demandApart(script: readonly GrubKey[], payload: readonly GrubKey[]): void {
  const seen = new Map<string, string>();
  for (const [name, keys] of [['script.gpg', script] as const, ['pubring.gpg', payload] as const]) {
    for (const { keyId } of keys) {
      const short = keyId.slice(-8);
      const other = seen.get(short);
      if (other !== undefined) {
        throw new Refusal(
          'unsafe-keys',
          `GRUB cannot tell the key ${keyId} of ${name} from ${other}: it compares the last 8 hex digits. One of them has to be made anew.`,
          { key: keyId },
        );
      }
      seen.set(short, `${keyId} of ${name}`);
    }
  }
}

/** GRUB says "bad signature" of keys it merely cannot read, on a machine in a rack: better said here. */
function unfit(name: string, why: string): Refusal {
  return new Refusal('unsafe-keys', `GRUB cannot use ${name}: ${why}.`, { path: name });
}

/** Every key of the file: one that cannot be read is refused, not passed over. */
function keysIn(name: string, bytes: Uint8Array): SigningKey[] {
  try {
    const present = splitTransferableKeys(bytes, MAX_PACKETS)
      .flat()
      .filter(({ packet: { tag } }) => tag === PACKET.publicKey || tag === PACKET.publicSubkey);
    const keys = decodeOpenpgpCertificates(bytes).flatMap((certificate) => certificate.keys);
    if (present.length === 0) throw unfit(name, 'it does not begin with a public key packet');
    if (keys.length !== present.length) throw unfit(name, 'it holds a key that cannot be read');
    return keys;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw unfit(name, bytes[0] === 0x2d ? 'it is armored text; the binary form is needed' : error.message);
  }
}

function demandSound(file: string, { key, bound, revoked, expires }: SigningKey, now: number): void {
  const name = key.fingerprint.slice(-16);
  if (revoked) throw unfit(file, `${name} is revoked`);
  if (!bound) throw unfit(file, `nothing that counts binds ${name} to its owner`);
  if (expires !== undefined && expires <= now) throw unfit(file, `${name} ended on ${day(expires)}`);
  if (key.created > now) throw unfit(file, `${name} begins on ${day(key.created)}`);
  try {
    demandStrong(defaultPolicy(now), name, 'sha512', key);
  } catch (error) {
    if (error instanceof Refusal) throw unfit(file, error.message.replace(/\.$/, ''));
    throw error;
  }
}
