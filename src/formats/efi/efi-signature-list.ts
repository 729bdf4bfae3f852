import { Malformed } from '../../errors/malformed.ts';
import { type Certificate, decodeCertificate } from '../asn1/x509.ts';
import { decodeGuid, EFI_GUID, encodeGuid } from './efi-guid.ts';
import { decodeEfiTime } from './efi-time.ts';

/**
 * Lists of signatures (EFI_SIGNATURE_LIST, UEFI 2.10 §32.4.1): what the variables PK, KEK, db and dbx hold, and
 * `.esl` files. One entry says what is trusted, or what is not: a certificate, a certificate's hash, an image's hash.
 */
export type EfiSignature = { /** Whose entry it is. */ readonly owner: string } & (
  | { readonly type: 'x509'; readonly certificate: Certificate }
  /** Authenticode digest of an image, lower-case hex. */
  | { readonly type: 'sha256'; readonly digest: string }
  /** Hash of a certificate's signed part; the time from which its signatures count no more, 0 for all of them. */
  | {
      readonly type: 'x509-hash';
      readonly hash: 'sha256' | 'sha384' | 'sha512';
      readonly digest: string;
      readonly revokedFrom: number;
    }
);

const FORMAT = 'EFI signature list';
/** Bytes of a list's header, and of the owner before each signature. */
const HEADER = 28;
const OWNER = 16;
const EFI_TIME = 16;
/** Bytes. The dbx of UEFI's own site has some 30 kB, and firmware has room for little more. */
export const MAX_SIGNATURE_LISTS = 4 * 1024 * 1024;

const HASHES = {
  [EFI_GUID.x509Sha256]: { hash: 'sha256', octets: 32 },
  [EFI_GUID.x509Sha384]: { hash: 'sha384', octets: 48 },
  [EFI_GUID.x509Sha512]: { hash: 'sha512', octets: 64 },
} as const;

export function isSignatureLists(bytes: Uint8Array): boolean {
  const types = [EFI_GUID.x509, EFI_GUID.sha256, ...Object.keys(HASHES)];
  return bytes.length >= HEADER && types.includes(decodeGuid(bytes.subarray(0, 16)));
}

/** One list for each certificate, as firmware wants it: sizes differ. */
export function encodeCertificateLists(
  certificates: readonly Pick<Certificate, 'raw'>[],
  owner: string,
): Uint8Array {
  return Buffer.concat(certificates.map(({ raw }) => encodeList(EFI_GUID.x509, owner, [raw])));
}

/** One list of image digests, 64 hex digits each. */
export function encodeHashList(digests: readonly string[], owner: string): Uint8Array {
  if (digests.some((digest) => !/^[0-9a-f]{64}$/.test(digest))) throw new Malformed(FORMAT, 'no SHA-256');
  if (digests.length === 0) return new Uint8Array();
  return encodeList(
    EFI_GUID.sha256,
    owner,
    digests.map((digest) => Buffer.from(digest, 'hex')),
  );
}

function encodeList(type: string, owner: string, signatures: readonly Uint8Array[]): Uint8Array {
  const size = OWNER + (signatures[0]?.length ?? 0);
  const header = Buffer.alloc(HEADER);
  header.set(encodeGuid(type));
  header.writeUInt32LE(HEADER + signatures.length * size, 16);
  header.writeUInt32LE(0, 20);
  header.writeUInt32LE(size, 24);
  const name = encodeGuid(owner);
  return Buffer.concat([header, ...signatures.flatMap((signature) => [name, signature])]);
}

/** Decodes lists, one behind the other, with nothing after them. Throws `Malformed`, also for an unknown type. */
export function decodeSignatureLists(bytes: Uint8Array): readonly EfiSignature[] {
  if (bytes.length > MAX_SIGNATURE_LISTS) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: EfiSignature[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < HEADER) throw new Malformed(FORMAT, 'a cut header', at);
    const type = decodeGuid(bytes.subarray(at, at + 16));
    const size = view.getUint32(at + 16, true);
    const each = view.getUint32(at + 24, true);
    if (view.getUint32(at + 20, true) !== 0) throw new Malformed(FORMAT, 'a header of an unknown kind', at);
    if (size < HEADER || at + size > bytes.length) throw new Malformed(FORMAT, `${size} bytes`, at);
    if (each <= OWNER || (size - HEADER) % each !== 0) {
      throw new Malformed(FORMAT, `signatures of ${each} bytes`, at);
    }
    for (let entry = at + HEADER; entry < at + size; entry += each) {
      found.push(decodeSignature(type, bytes.subarray(entry, entry + each)));
    }
    at += size;
  }
  return found;
}

function decodeSignature(type: string, entry: Uint8Array): EfiSignature {
  const owner = decodeGuid(entry.subarray(0, OWNER));
  const data = entry.subarray(OWNER);
  if (type === EFI_GUID.x509) return { owner, type: 'x509', certificate: decodeCertificate(data) };
  if (type === EFI_GUID.sha256) {
    if (data.length !== 32) throw new Malformed(FORMAT, `a SHA-256 of ${data.length} bytes`);
    return { owner, type: 'sha256', digest: Buffer.from(data).toString('hex') };
  }
  const known = HASHES[type as keyof typeof HASHES];
  if (!known) throw new Malformed(FORMAT, `unknown type ${type}`);
  if (data.length !== known.octets + EFI_TIME) throw new Malformed(FORMAT, `a hash of ${data.length} bytes`);
  return {
    owner,
    type: 'x509-hash',
    hash: known.hash,
    digest: Buffer.from(data.subarray(0, known.octets)).toString('hex'),
    revokedFrom: decodeEfiTime(data.subarray(known.octets)) ?? 0,
  };
}
