import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { encodePacket, PACKET } from '../formats/openpgp/openpgp-packet.ts';
import { splitTransferableKeys } from '../formats/openpgp/openpgp-transferable.ts';
import { decodeOpenpgpCertificates, type SigningKey } from '../trust/openpgp-certificate.ts';
import { day, defaultPolicy, demandStrong } from '../trust/policy.ts';

/** More would have to be looked through for each file that GRUB opens. */
const MAX_PACKETS = 200;

/**
 * The keys that GRUB shall trust, for its image. GRUB's loader (grub-core/commands/pgp.c) takes every key and
 * subkey packet of the file it is given, with no look at self-signature, revocation, date or length. So it is
 * given key packets alone: those that may sign, old-format headers, nothing that GRUB would have to pass over.
 *
 * Throws a `Refusal` (`unsafe-keys`) where any key of the file is one that verification would not take: who
 * finds it there would think that GRUB does. A sound key that does not sign is merely left out.
 *
 * @param bytes binary certificates; several while a key is being replaced.
 * @param now milliseconds since 1970.
 */
export function grubKeyring(bytes: Uint8Array, now: number): Uint8Array {
  const packets = new Map<string, Uint8Array>();
  const keyIds = new Set<string>();
  for (const found of keysIn(bytes)) {
    demandSound(found, now);
    if (!found.maySign) continue;
    const { fingerprint, keyId, type, body } = found.key;
    if (type !== 'rsa') throw unfit(`it is ${type}, and GRUB verifies RSA (and DSA, too weak today)`);
    if (packets.has(fingerprint)) continue;
    // GRUB asks the first key of that id, and no other.
    if (keyIds.has(keyId)) throw unfit(`two keys in it have the id ${keyId}`);
    keyIds.add(keyId);
    // A subkey becomes a key of its own: to GRUB they are the same, and its primary key need not sign.
    packets.set(fingerprint, encodePacket(PACKET.publicKey, body));
  }
  if (packets.size === 0) throw unfit('no key in it may sign');
  return Buffer.concat([...packets.values()]);
}

/** GRUB says "bad signature" of keys it merely cannot read, on a machine in a rack: better said here. */
function unfit(why: string): Refusal {
  return new Refusal('unsafe-keys', `GRUB cannot use this OpenPGP key: ${why}.`);
}

/** Every key of the file: one that cannot be read is refused, not passed over. */
function keysIn(bytes: Uint8Array): SigningKey[] {
  try {
    const present = splitTransferableKeys(bytes, MAX_PACKETS)
      .flat()
      .filter(({ packet: { tag } }) => tag === PACKET.publicKey || tag === PACKET.publicSubkey);
    const keys = decodeOpenpgpCertificates(bytes).flatMap((certificate) => certificate.keys);
    if (present.length === 0) throw unfit('it does not begin with a public key packet');
    if (keys.length !== present.length) throw unfit('it holds a key that cannot be read');
    return keys;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw unfit(bytes[0] === 0x2d ? 'it is armored text; the binary form is needed' : error.message);
  }
}

function demandSound({ key, bound, revoked, expires }: SigningKey, now: number): void {
  const name = key.fingerprint.slice(-16);
  if (revoked) throw unfit(`${name} is revoked`);
  if (!bound) throw unfit(`nothing that counts binds ${name} to its owner`);
  if (expires !== undefined && expires <= now) throw unfit(`${name} ended on ${day(expires)}`);
  if (key.created > now) throw unfit(`${name} begins on ${day(key.created)}`);
  try {
    demandStrong(defaultPolicy(now), name, 'sha512', key);
  } catch (error) {
    if (error instanceof Refusal) throw unfit(error.message.replace(/\.$/, ''));
    throw error;
  }
}
