import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { decodePe, type PeImage, peSection, SECTION_HEADER } from './pe.ts';
import { addPeSections } from './pe-write.ts';

/**
 * What is in a unified kernel image (UAPI group, UKI specification), and what a TPM will have measured of it
 * (systemd-stub(7), systemd-measure(1)).
 */

const FORMAT = 'unified kernel image';

/** What every stub of systemd says of itself in `.sdmagic`. */
const STUB = /^#### LoaderInfo: systemd-stub ([0-9]+)/;

/** Of the stub, undefined where it is none of systemd. */
export function stubVersion(bytes: Uint8Array, image: PeImage): number | undefined {
  const magic = peSection(bytes, image, '.sdmagic');
  const version = STUB.exec(Buffer.from(magic ?? []).toString('latin1'))?.[1];
  return version === undefined ? undefined : Number(version);
}

/** What the image calls itself: PRETTY_NAME of its os-release. */
export function ukiTitle(bytes: Uint8Array, image: PeImage): string {
  const text = Buffer.from(peSection(bytes, image, '.osrel') ?? []).toString('latin1');
  const title = /^PRETTY_NAME=(["']?)([ -~]{1,128})\1$/m.exec(text)?.[2]?.trim();
  return title || 'unified kernel image';
}

/** In the order in which stubs measure them. `.pcrsig` is about the others and cannot be among them. */
const MEASURED = [
  '.linux',
  '.osrel',
  '.cmdline',
  '.initrd',
  '.splash',
  '.dtb',
  '.uname',
  '.sbat',
  '.pcrpkey',
];
/** Measured by stubs from this version on (systemd's NEWS). */
const MEASURED_SINCE: Readonly<Record<string, number>> = { '.uname': 253, '.sbat': 253 };

/** When a signature over PCR values is to hold: after each of these words, in turn (systemd-pcrphase(8)). */
export const PCR_PHASES = [
  'enter-initrd',
  'enter-initrd:leave-initrd',
  'enter-initrd:leave-initrd:sysinit',
  'enter-initrd:leave-initrd:sysinit:ready',
] as const;

/** The one PCR that a stub measures an image into. */
export const UKI_PCR = 11;

/**
 * What PCR 11 of the SHA-256 bank holds once this image was started and these phases were reached.
 *
 * @param phase words with colons between them.
 */
export function pcrValue(bytes: Uint8Array, image: PeImage, phase: string): Uint8Array {
  const version = stubVersion(bytes, image);
  if (version === undefined)
    throw new Malformed(FORMAT, 'no stub of systemd, so nobody knows what it measures');
  let value: Uint8Array = Buffer.alloc(32);
  const extend = (data: Uint8Array) => {
    value = sha256(value, sha256(data));
  };
  for (const name of MEASURED) {
    if (version < (MEASURED_SINCE[name] ?? 0)) continue;
    const data = peSection(bytes, image, name);
    if (!data) continue;
    extend(Buffer.from(`${name}\0`));
    extend(data);
  }
  for (const word of phase.split(':')) extend(Buffer.from(word));
  return value;
}

/** TPM2_PolicyPCR (TPM 2.0 part 3, §23.7) over PCR 11 of the SHA-256 bank: what is signed, by its SHA-256. */
export function pcrPolicy(value: Uint8Array): Uint8Array {
  const command = Buffer.from('0000017f', 'hex');
  // TPML_PCR_SELECTION: one bank, SHA-256, three bytes of bits.
  const selection = Buffer.from('00000001000b03', 'hex');
  const bits = Buffer.alloc(3);
  bits[UKI_PCR >> 3] = 1 << (UKI_PCR & 7);
  return sha256(Buffer.alloc(32), command, selection, bits, sha256(value));
}

export interface PcrSignature {
  readonly policy: Uint8Array;
  readonly signature: Uint8Array;
}

/**
 * The content of `.pcrsig`: JSON, as systemd-measure writes it.
 *
 * @param fingerprint SHA-256 of the public key as PKCS #1, hex.
 */
export function encodePcrSignatures(fingerprint: string, signatures: readonly PcrSignature[]): Uint8Array {
  const sha256Bank = signatures.map(({ policy, signature }) => ({
    pcrs: [UKI_PCR],
    pkfp: fingerprint,
    pol: Buffer.from(policy).toString('hex'),
    sig: Buffer.from(signature).toString('base64'),
  }));
  return Buffer.from(`${JSON.stringify({ sha256: sha256Bank })}\n`);
}

/**
 * The image with its signatures over PCR values, before the kernel, which stays last. Throws `Malformed` for one that
 * has some, or that is signed: that signature is over all of the image and comes afterwards.
 */
export function withPcrSignatures(bytes: Uint8Array, pcrsig: Uint8Array): Uint8Array {
  const image = decodePe(bytes);
  if (image.certificateTable) throw new Malformed(FORMAT, 'signed already');
  if (peSection(bytes, image, '.pcrsig')) throw new Malformed(FORMAT, 'with PCR signatures already');
  const last = image.sections.at(-1);
  const kernel = peSection(bytes, image, '.linux');
  if (last?.name !== '.linux' || !kernel) throw new Malformed(FORMAT, 'the kernel is not its last section');
  const { at } = image;
  const base = Buffer.from(bytes.subarray(0, last.rawOffset));
  const count = image.sections.length - 1;
  base.fill(0, at.sections + count * SECTION_HEADER, at.sections + (count + 1) * SECTION_HEADER);
  base.writeUInt16LE(count, at.coff + 2);
  base.writeUInt32LE(base.readUInt32LE(at.optional + 8) - last.rawSize, at.optional + 8);
  return addPeSections(base, [
    { name: '.pcrsig', data: pcrsig },
    { name: '.linux', data: kernel },
  ]);
}

function sha256(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}
