import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { calledOf } from '../formats/asn1/certificate-name.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import {
  authenticodeAttributes,
  authenticodeDigest,
  decodeAuthenticode,
  encodeAuthenticode,
  encodeIndirectData,
} from '../formats/efi/authenticode.ts';
import { decodePe } from '../formats/efi/pe.ts';
import { peSignatures, withPeSignatures } from '../formats/efi/pe-write.ts';
import { isSignature } from './signers/digest-signer.ts';

/** An Authenticode signature that lacks nothing but the key's work. No private key is needed to make one. */
export interface AuthenticodeDraft {
  /** Authenticode digest of the image, SHA-256: the same before and after it is signed. */
  readonly imageDigest: Uint8Array;
  /** What the key signs: SHA-256 over the signed attributes. */
  readonly digest: Uint8Array;
  /** DER, from the answer. */
  complete(signature: Uint8Array): Uint8Array;
}

/**
 * What a certificate's key must sign so that an image of this digest is signed. No time is part of it, so the same
 * key and image give the same bytes.
 *
 * @param program shown by some systems: the release's id.
 */
export function draftAuthenticode(
  imageDigest: Uint8Array,
  certificate: Certificate,
  program: string,
): AuthenticodeDraft {
  if (certificate.key.type !== 'rsa') {
    throw new Refusal(
      'wrong-purpose',
      `${calledOf(certificate)} has no RSA key, and firmware verifies no other.`,
      { commonName: certificate.commonName },
    );
  }
  const indirectData = encodeIndirectData('sha256', imageDigest);
  const attributes = authenticodeAttributes('sha256', indirectData, program);
  return {
    imageDigest,
    digest: createHash('sha256').update(attributes).digest(),
    complete: (signature) =>
      encodeAuthenticode({
        hash: 'sha256',
        indirectData,
        attributes,
        signer: certificate,
        signature,
        certificates: [certificate.raw],
      }),
  };
}

/** Authenticode digest of an image, SHA-256. Throws `Malformed`. */
export function imageDigest(bytes: Uint8Array): Uint8Array {
  return authenticodeDigest(bytes, decodePe(bytes), 'sha256');
}

/**
 * The image with one more signature. One by the same certificate that holds already is kept, and the bytes with it.
 *
 * @param signature DER.
 */
export function attachAuthenticode(bytes: Uint8Array, signature: Uint8Array): Uint8Array {
  const image = decodePe(bytes);
  const there = peSignatures(bytes, image);
  if (there.some((one) => Buffer.compare(one, signature) === 0)) return bytes;
  return withPeSignatures(bytes, image, [...there, signature]);
}

/** Whether one of an image's signatures is by this certificate, over this very image. Throws `Malformed`. */
export function isSignedBy(bytes: Uint8Array, certificate: Certificate): boolean {
  const image = decodePe(bytes);
  const digest = authenticodeDigest(bytes, image, 'sha256');
  return peSignatures(bytes, image).some((one) => {
    const { imageDigest: signed, content, signers, hash } = decodeAuthenticode(one);
    const [signer] = signers;
    return (
      hash === 'sha256' &&
      signers.length === 1 &&
      signer !== undefined &&
      Buffer.compare(signed, digest) === 0 &&
      Buffer.compare(signer.messageDigest, createHash(hash).update(content).digest()) === 0 &&
      isSignature(
        certificate.key.object,
        hash,
        createHash(hash).update(signer.signed).digest(),
        signer.signature,
      )
    );
  });
}
