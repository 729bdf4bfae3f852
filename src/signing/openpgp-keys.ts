import { createPrivateKey, type KeyObject } from 'node:crypto';
import { generateKey, readPrivateKey } from 'openpgp';
import { decodeOpenpgpKey, type OpenpgpKey } from '../formats/openpgp-key.ts';
import { decodePackets, encodePacket, PACKET } from '../formats/openpgp-packet.ts';
import { Refusal } from '../release/refusal.ts';

/** The site's OpenPGP signing key: made with openpgp.js, exported so that GRUB reads it. */

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
 * Makes an RSA key whose primary signs, without subkeys or notations: GRUB knows no EdDSA and takes a key
 * for what its packet says.
 *
 * @param created milliseconds since 1970.
 */
export async function newOpenpgpKey(site: string, rsaBits: number, created: number): Promise<NewOpenpgpKey> {
  const { privateKey, publicKey } = await generateKey({
    type: 'rsa',
    rsaBits,
    userIDs: [{ name: `Bootseal ${site}`, comment: 'netboot release signing' }],
    subkeys: [],
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
  return Buffer.concat(decodePackets(packets, 10_000).map(({ tag, body }) => encodePacket(tag, body)));
}

/** Reads an armored secret key whose RSA primary signs. Throws a `Refusal`. */
export async function readOpenpgpSecret(armored: string, path: string): Promise<OpenpgpSecret> {
  const parsed = await readPrivateKey({ armoredKey: armored }).catch((error: Error) => {
    throw new Refusal('malformed', `${path} is no OpenPGP secret key: ${error.message}.`, { path });
  });
  if (!parsed.isDecrypted()) {
    throw new Refusal(
      'unsafe-keys',
      `${path} is protected by a passphrase, which cannot be asked for here.`,
      { path },
    );
  }
  const publicPacket = decodePackets(parsed.toPublic().write(), 10_000).find(
    ({ tag }) => tag === PACKET.publicKey,
  );
  const key = publicPacket && decodeOpenpgpKey(publicPacket.body);
  const secret = parsed.keyPacket as unknown as {
    publicParams: Record<string, Uint8Array>;
    privateParams: Record<string, Uint8Array> | null;
  };
  if (key?.type !== 'rsa' || !secret.privateParams) {
    throw new Refusal(
      'wrong-purpose',
      `${path} is no RSA key; GRUB verifies no other kind that we can make.`,
      { path },
    );
  }
  return { key, privateKey: rsaPrivateKey(secret.publicParams, secret.privateParams) };
}

/** PKCS#8 wants the CRT numbers in RFC 8017's order; OpenPGP stores p, q and u = p⁻¹ mod q. */
function rsaPrivateKey(
  publicParams: Record<string, Uint8Array>,
  privateParams: Record<string, Uint8Array>,
): KeyObject {
  const number = (bytes: Uint8Array | undefined) =>
    BigInt(`0x${Buffer.from(bytes ?? []).toString('hex') || '0'}`);
  const text = (value: bigint) => {
    const hex = value.toString(16);
    return Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex').toString('base64url');
  };
  const d = number(privateParams.d);
  // With p and q swapped, OpenPGP's u is RFC 8017's qInv.
  const p = number(privateParams.q);
  const q = number(privateParams.p);
  return createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'RSA',
      n: text(number(publicParams.n)),
      e: text(number(publicParams.e)),
      d: text(d),
      p: text(p),
      q: text(q),
      dp: text(d % (p - 1n)),
      dq: text(d % (q - 1n)),
      qi: text(number(privateParams.u)),
    },
  });
}
