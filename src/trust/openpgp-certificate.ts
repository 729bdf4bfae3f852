import { createHash, verify as verifySignature } from 'node:crypto';
import { Malformed } from '../formats/malformed.ts';
import { decodeOpenpgpKey, keyHashInput, type OpenpgpKey } from '../formats/openpgp-key.ts';
import { decodePackets, PACKET, type Packet } from '../formats/openpgp-packet.ts';
import {
  decodeSignature,
  find,
  type OpenpgpSignature,
  SUBPACKET,
  signatureTrailer,
} from '../formats/openpgp-signature.ts';
import { isRsaSignature } from '../formats/pkcs1.ts';

/** OpenPGP certificates (RFC 9580 §10.1): which of their keys may sign documents, from when, until when. */
export interface OpenpgpCertificate {
  readonly primary: OpenpgpKey;
  readonly userIds: readonly string[];
  readonly keys: readonly SigningKey[];
}

export interface SigningKey {
  readonly key: OpenpgpKey;
  /** False: the self-signature gives it no signing flag, or there is no valid self-signature at all. */
  readonly maySign: boolean;
  /** Milliseconds since 1970; undefined: never. */
  readonly expires: number | undefined;
  readonly revoked: boolean;
}

/** Ten thousand certificates of a few packets each; past that somebody wants our memory. */
const MAX_PACKETS = 200_000;
const SIGN_FLAG = 0x02;

/** Decodes a binary keyring: transferable public keys, one after the other. Throws `Malformed`. */
export function decodeOpenpgpCertificates(bytes: Uint8Array): OpenpgpCertificate[] {
  const groups: Packet[][] = [];
  for (const packet of decodePackets(bytes, MAX_PACKETS)) {
    if (packet.tag === PACKET.secretKey || packet.tag === PACKET.secretSubkey) {
      throw new Malformed('OpenPGP', 'a secret key among public ones');
    }
    if (packet.tag === PACKET.publicKey) groups.push([packet]);
    else if (packet.tag === PACKET.marker || packet.tag === PACKET.trust || packet.tag === PACKET.padding)
      continue;
    else {
      const group = groups.at(-1);
      if (!group) throw new Malformed('OpenPGP', `packet type ${packet.tag} before any public key`);
      group.push(packet);
    }
  }
  return groups.flatMap((group) => decodeCertificate(group) ?? []);
}

/** A component and the signatures that follow it. */
interface Component {
  readonly packet: Packet;
  readonly signatures: OpenpgpSignature[];
}

/** A key of a version or algorithm we do not know makes a certificate of which nothing can be verified. */
function decodeCertificate(group: readonly Packet[]): OpenpgpCertificate | undefined {
  const components: Component[] = [];
  for (const packet of group) {
    if (packet.tag === PACKET.signature) {
      const signature = tolerate(() => decodeSignature(packet.body));
      if (signature) components.at(-1)?.signatures.push(signature);
    } else components.push({ packet, signatures: [] });
  }
  const [head, ...rest] = components;
  const primary = head && tolerate(() => decodeOpenpgpKey(head.packet.body));
  if (!head || !primary) return undefined;
  const userIds = rest.filter(({ packet }) => packet.tag === PACKET.userId);
  const own = (context: Uint8Array, signature: OpenpgpSignature) => holds(primary, context, signature);
  const primaryInput = keyHashInput(primary.body);

  const revoked = head.signatures.some(
    (signature) => signature.type === 0x20 && own(primaryInput, signature),
  );
  const direct = head.signatures.filter(
    (signature) => signature.type === 0x1f && own(primaryInput, signature),
  );
  const certifications = userIds.flatMap(({ packet, signatures }) =>
    signatures.filter((signature) => {
      const isCertification = signature.type >= 0x10 && signature.type <= 0x13;
      return isCertification && own(certificationInput(primaryInput, packet.body), signature);
    }),
  );
  const binding = newest([...certifications, ...direct]);
  const keys: SigningKey[] = [{ key: primary, ...properties(primary, binding), revoked }];
  for (const { packet, signatures } of rest) {
    if (packet.tag !== PACKET.publicSubkey) continue;
    const key = tolerate(() => decodeOpenpgpKey(packet.body));
    if (!key) continue;
    const input = Buffer.concat([primaryInput, keyHashInput(key.body)]);
    const valid = signatures.filter((signature) => own(input, signature));
    const bound = newest(valid.filter(({ type }) => type === 0x18));
    const facts = properties(key, bound);
    keys.push({
      key,
      ...facts,
      // A subkey that signs must itself agree to the binding, or anyone could adopt it (RFC 9580 §5.2.1.9).
      maySign: facts.maySign && bound !== undefined && agrees(key, input, bound),
      revoked: revoked || valid.some(({ type }) => type === 0x28),
    });
  }
  const names = userIds.map(({ packet }) => Buffer.from(packet.body).toString('utf8'));
  return { primary, userIds: names, keys };
}

function properties(
  key: OpenpgpKey,
  binding: OpenpgpSignature | undefined,
): Pick<SigningKey, 'maySign' | 'expires'> {
  if (!binding) return { maySign: false, expires: undefined };
  const flags = binding.subpackets.find(({ type, hashed }) => type === SUBPACKET.keyFlags && hashed);
  const lifetime = binding.subpackets.find(
    ({ type, hashed }) => type === SUBPACKET.keyExpirationTime && hashed,
  );
  const seconds = lifetime?.body.length === 4 ? Buffer.from(lifetime.body).readUInt32BE() : 0;
  return {
    maySign: ((flags?.body[0] ?? 0) & SIGN_FLAG) !== 0,
    expires: seconds > 0 ? key.created + seconds * 1000 : undefined,
  };
}

function agrees(subkey: OpenpgpKey, input: Uint8Array, binding: OpenpgpSignature): boolean {
  const embedded = find(binding.subpackets, SUBPACKET.embeddedSignature);
  const signature = embedded && tolerate(() => decodeSignature(embedded.body));
  return signature?.type === 0x19 && holds(subkey, input, signature);
}

function newest(signatures: readonly OpenpgpSignature[]): OpenpgpSignature | undefined {
  return signatures.toSorted((a, b) => (b.created ?? 0) - (a.created ?? 0))[0];
}

function certificationInput(primaryInput: Uint8Array, userId: Uint8Array): Uint8Array {
  const header = Buffer.alloc(5);
  header[0] = 0xb4;
  header.writeUInt32BE(userId.length, 1);
  return Buffer.concat([primaryInput, header, userId]);
}

/** A self-signature counts when its hash does: SHA-1 and MD5 bindings are as good as none. */
function holds(key: OpenpgpKey, context: Uint8Array, signature: OpenpgpSignature): boolean {
  if (signature.hash === 'sha1' || signature.hash === 'md5') return false;
  if (unknownCritical(signature)) return false;
  const hash = createHash(signature.hash).update(context).update(signatureTrailer(signature.hashed));
  return isOpenpgpSignature(key, signature, hash.digest());
}

/** Subpackets that this verifier understands (RFC 9580 §5.2.3.7). */
const KNOWN = new Set([
  2, 3, 4, 7, 9, 11, 16, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 39,
]);

/** True when the signature says something critical that we do not understand. */
export function unknownCritical(signature: OpenpgpSignature): boolean {
  return signature.subpackets.some(({ critical, type }) => critical && !KNOWN.has(type));
}

/** Whether `signature` is by `key` over `digest` (of content and trailer). RSA and Ed25519. */
export function isOpenpgpSignature(
  key: OpenpgpKey,
  signature: OpenpgpSignature,
  digest: Uint8Array,
): boolean {
  const [first, second] = signature.mpis;
  if (!key.object || !first) return false;
  if (key.type === 'rsa' && (signature.algorithm === 1 || signature.algorithm === 3)) {
    return isRsaSignature(key.object, signature.hash, digest, pad(first, Math.ceil(key.bits / 8)));
  }
  if (key.type === 'ed25519' && signature.algorithm === key.algorithm) {
    const raw =
      signature.algorithm === 27 ? first : second && Buffer.concat([pad(first, 32), pad(second, 32)]);
    return raw?.length === 64 && verifySignature(null, digest, key.object, raw);
  }
  return false;
}

/** MPIs lose their leading zeros; RSA and Ed25519 want every octet. */
function pad(mpi: Uint8Array, octets: number): Uint8Array {
  return Buffer.concat([Buffer.alloc(Math.max(0, octets - mpi.length)), mpi]);
}

function tolerate<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
