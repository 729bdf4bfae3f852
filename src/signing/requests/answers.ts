import { createHash, type KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { decodeDetachedCms } from '../../formats/asn1/cms.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import {
  decodeDetachedOpenpgp,
  grubKeyId,
  signatureTrailer,
} from '../../formats/openpgp/openpgp-signature.ts';
import { isSignedBy } from '../../trust/tree-keys.ts';
import { isOpenpgpKey, isOwnLeaf, type KeyName, OPENPGP_KEYS, OWN_LEAVES } from '../seal-keys.ts';
import { padded, type UnsignedSeal } from '../seal-plan.ts';
import { byOpenpgpKey } from '../signatories.ts';
import { isSignature } from '../signers/digest-signer.ts';
import type { AskedSeal, OpenedRequest } from './open-request.ts';

/** An answer that holds: the signature, and what it is over. */
export interface GoodAnswer {
  readonly seal: UnsignedSeal;
  readonly signature: Uint8Array;
}

/** Public halves of the keys that a request is by, and of the leaves that were issued for it. */
export function publicKeys(
  { signatories, others }: OpenedRequest,
  leaves: ReadonlyMap<KeyName, Certificate>,
): ReadonlyMap<string, KeyObject> {
  const keys = new Map<string, KeyObject>(
    [...OWN_LEAVES, 'boot' as const].map((name) => [name, signatories[name].key.object]),
  );
  for (const [name, { object }] of byOpenpgpKey(signatories.openpgp)) if (object) keys.set(name, object);
  for (const { id, signatories: of } of others) keys.set(`boot-${id}`, of.boot.key.object);
  for (const [key, leaf] of leaves) keys.set(key, leaf.key.object);
  return keys;
}

/**
 * Reads an answer: of payload a bare signature, of a record or script the whole seal as openssl or gpg writes it. Of
 * that the signature is taken, and what stands around it is made anew.
 *
 * @returns why it is none, in words that go on a sentence, where it does not hold.
 */
export function readAnswer(
  opened: OpenedRequest,
  asked: AskedSeal,
  bytes: Uint8Array,
  key: KeyObject,
): GoodAnswer | string {
  if (asked.text === undefined) {
    const { seal } = asked;
    return isSignature(key, seal.hash, seal.digest, bytes)
      ? { seal, signature: bytes }
      : `is no signature over what was asked, by ${asked.by}`;
  }
  try {
    return isOpenpgpKey(asked.by)
      ? readOpenpgp(opened, asked, asked.text, bytes, key)
      : readCms(opened, asked, bytes, key);
  } catch (error) {
    if (error instanceof Malformed) return `is no seal: ${error.message}`;
    throw error;
  }
}

function readCms(
  opened: OpenedRequest,
  { by, of, seal }: AskedSeal,
  bytes: Uint8Array,
  key: KeyObject,
): GoodAnswer | string {
  const { signers } = decodeDetachedCms(bytes);
  const [info, second] = signers;
  if (!info || second) return `has ${signers.length} signers, and one is expected`;
  if (!isSignedBy(info, certificateOf(opened, by))) return `is by another certificate than ${by}`;
  if (info.hash !== 'sha256') return `uses ${info.hash}, and not SHA-256`;
  if (!isSignature(key, 'sha256', seal.digest, info.signature)) return `is no signature of ${of} by ${by}`;
  return { seal, signature: info.signature };
}

function readOpenpgp(
  { signatories }: OpenedRequest,
  { by, of }: AskedSeal,
  text: Uint8Array,
  bytes: Uint8Array,
  key: KeyObject,
): GoodAnswer | string {
  const own = isOpenpgpKey(by) ? signatories.openpgp[OPENPGP_KEYS[by]] : undefined;
  const [found, second] = decodeDetachedOpenpgp(bytes);
  const mpi = found?.mpis[0];
  if (!own || !found || second || !mpi) return 'is not one OpenPGP signature';
  if (found.type !== 0)
    return `is no signature of a document (type ${found.type}); gpg makes one with --detach-sign`;
  if (found.hash !== 'sha512')
    return `uses ${found.hash}, and not SHA-512; gpg does with --digest-algo SHA512`;
  if (found.issuerFingerprint !== own.fingerprint || grubKeyId(found) !== own.keyId)
    return `is by another key than ${by}`;
  if ((found.created ?? 0) < own.created) return `is older than the key ${by}`;
  const { hashed } = found;
  const digest = createHash('sha512').update(text).update(signatureTrailer(hashed)).digest();
  const signature = padded(mpi, own);
  if (!isSignature(key, 'sha512', digest, signature)) return `is no signature of ${of} by ${by}`;
  return { seal: { form: 'openpgp', hash: 'sha512', digest, hashed }, signature };
}

function certificateOf({ signatories, others }: OpenedRequest, by: KeyName): Certificate {
  if (isOwnLeaf(by)) return signatories[by];
  return (others.find(({ id }) => by === `boot-${id}`)?.signatories ?? signatories).boot;
}
