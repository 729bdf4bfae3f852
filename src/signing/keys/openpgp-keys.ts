import { createPrivateKey, type KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { isArmored, pemLabels, readArmored } from '../../formats/asn1/armor-in-text.ts';
import { otherGnupgFile } from '../../formats/openpgp/gnupg-file.ts';
import { isKeybox } from '../../formats/openpgp/keybox.ts';
import { decodeOpenpgpKey, type OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { decodePackets, encodePacket, mpiNumber, PACKET } from '../../formats/openpgp/openpgp-packet.ts';
import {
  decodeOpenpgpSecretKey,
  encodeOpenpgpSecretKey,
  type OpenpgpSecretKey,
  type RsaSecret,
} from '../../formats/openpgp/openpgp-secret.ts';
import type { OpenpgpPurpose } from '../../trust/anchors.ts';
import type { KeyPair } from './key-pair.ts';

/** The site's OpenPGP signing keys, one for each purpose: certified by openpgp.js, exported so that GRUB reads it. */

const MAX_PACKETS = 10_000;
/** Modulus lengths of new keys. That of payload has no end of its own, and is in the images of years. */
export const OPENPGP_BITS: Readonly<Record<OpenpgpPurpose, number>> = {
  payload: 4096,
  script: 3072,
  manifest: 3072,
};

export interface OpenpgpSecret {
  readonly key: OpenpgpKey;
  readonly privateKey: KeyObject;
}

export interface NewOpenpgpKey {
  /** Armored, unencrypted: goes into a 0600 file. */
  readonly secret: string;
  /** Packets with old-format headers: a gpgv keyring, and what GRUB embeds. */
  readonly publicKeyring: Uint8Array;
}

/**
 * Makes an OpenPGP key of an RSA key: its primary signs, without subkeys or notations, since GRUB knows no EdDSA and
 * takes a key for what its packet says.
 *
 * @param created milliseconds since 1970, whole seconds.
 */
export async function newOpenpgpKey(
  site: string,
  purpose: OpenpgpPurpose,
  { privateKey: rsa }: KeyPair,
  created: number,
): Promise<NewOpenpgpKey> {
  // Most commands make no key, and need not wait for this.
  const { readPrivateKey, reformatKey } = await import('openpgp');
  const packet = encodePacket(PACKET.secretKey, encodeOpenpgpSecretKey(created, rsaSecret(rsa)));
  const { privateKey, publicKey } = await reformatKey({
    // What reformatting adds is all that a key without a user id lacks.
    privateKey: await readPrivateKey({ binaryKey: packet }),
    userIDs: [{ name: `Bootseal ${site}`, comment: `netboot ${purpose} signing` }],
    date: new Date(created),
    format: 'object',
    config: { nonDeterministicSignaturesViaNotation: false, showComment: false, showVersion: false },
  });
  return {
    secret: privateKey.armor(),
    publicKeyring: oldFormat(publicKey.write()),
  };
}

/** Rewrites every packet with an old-format header; what the signatures cover is the bodies. */
export function oldFormat(packets: Uint8Array): Uint8Array {
  return Buffer.concat(decodePackets(packets, MAX_PACKETS).map(({ tag, body }) => encodePacket(tag, body)));
}

/** One key of a secret certificate. */
export interface OpenpgpSecretPart {
  readonly key: OpenpgpKey;
  /** Undefined where a passphrase protects it, or it is kept elsewhere. */
  readonly privateKey: KeyObject | undefined;
}

/** Reads the RSA keys of a secret certificate, primary and subkeys; which of them signs, others say. Throws a `Refusal`. */
export function readOpenpgpSecrets(bytes: Uint8Array, path: string): OpenpgpSecretPart[] {
  const found = secretKeys(bytes, path).map(({ publicBody, rsa }) => ({
    key: decodeOpenpgpKey(publicBody),
    privateKey: rsa && rsaPrivateKey(rsa),
  }));
  if (found.length > 0) return found;
  throw new Refusal('wrong-purpose', `${path} is not an RSA key, and GRUB needs one.`, { path });
}

/** Whether a passphrase protects a secret certificate, and not merely a card or another computer that has the numbers. */
export function isLocked(bytes: Uint8Array): boolean {
  // RFC 9580 §3.7.2.1: what GnuPG writes in the place of numbers that are elsewhere is S2K 101.
  return decodePackets(secretPackets(bytes), MAX_PACKETS).some(
    ({ tag, body }) => isSecret(tag) && !Buffer.from(body).includes(Buffer.from('\x65\x00GNU', 'latin1')),
  );
}

/** The same certificate unprotected; undefined where the passphrase is another. */
export async function unlockOpenpgp(bytes: Uint8Array, passphrase: string): Promise<Uint8Array | undefined> {
  const { readPrivateKey, decryptKey } = await import('openpgp');
  const locked = await readPrivateKey({ binaryKey: secretPackets(bytes) });
  try {
    return (await decryptKey({ privateKey: locked, passphrase })).write();
  } catch {
    // A library's message may say what it tried; nothing of a key or passphrase goes on from here.
    return undefined;
  }
}

function isSecret(tag: number): boolean {
  return tag === PACKET.secretKey || tag === PACKET.secretSubkey;
}

function secretKeys(bytes: Uint8Array, path: string): OpenpgpSecretKey[] {
  try {
    const packets = decodePackets(secretPackets(bytes), MAX_PACKETS);
    if (packets[0]?.tag !== PACKET.secretKey) {
      throw new Malformed('OpenPGP', 'it does not begin with a secret key');
    }
    return packets
      .filter(({ tag }) => isSecret(tag))
      .flatMap(({ body }) => decodeOpenpgpSecretKey(body) ?? []);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    const message = `${path} is no OpenPGP secret key: ${error.message}; "gpg --export-secret-keys KEY > FILE" writes one, and a signers.toml may name GnuPG's agent instead.`;
    throw new Refusal('malformed', message, { path });
  }
}

function secretPackets(bytes: Uint8Array): Uint8Array {
  if (isKeybox(bytes)) throw new Malformed('OpenPGP', 'a keybox of GnuPG, whose keys are public');
  if (!isArmored(bytes)) return bytes;
  const other = otherGnupgFile(bytes);
  if (other !== undefined && pemLabels(bytes).length === 0)
    throw new Malformed('OpenPGP', other.split(';')[0] ?? '');
  return Buffer.concat(
    readArmored(bytes).map(({ label, bytes: packets }) => {
      if (label === 'PRIVATE KEY BLOCK') return packets;
      throw new Malformed('OpenPGP armor', `a ${label} where a PRIVATE KEY BLOCK belongs`);
    }),
  );
}

/** The other way round: RFC 8017's p, q and qInv = q⁻¹ mod p are OpenPGP's q, p and u. */
function rsaSecret(key: KeyObject): RsaSecret {
  const { n, e, d, p: q, q: p, qi: u } = key.export({ format: 'jwk' });
  const number = (text = '') => Buffer.from(text, 'base64url');
  return { n: number(n), e: number(e), d: number(d), p: number(p), q: number(q), u: number(u) };
}

/** PKCS#8 wants the CRT numbers in RFC 8017's order; OpenPGP stores p, q and u = p⁻¹ mod q. */
function rsaPrivateKey(secret: RsaSecret): KeyObject {
  const text = (value: bigint) => {
    const hex = value.toString(16);
    return Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex').toString('base64url');
  };
  const d = mpiNumber(secret.d);
  // With p and q swapped, OpenPGP's u is RFC 8017's qInv.
  const p = mpiNumber(secret.q);
  const q = mpiNumber(secret.p);
  return createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'RSA',
      n: text(mpiNumber(secret.n)),
      e: text(mpiNumber(secret.e)),
      d: text(d),
      p: text(p),
      q: text(q),
      dp: text(d % (p - 1n)),
      dq: text(d % (q - 1n)),
      qi: text(mpiNumber(secret.u)),
    },
  });
}
