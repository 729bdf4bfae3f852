import { Malformed } from '../../errors/malformed.ts';
import { decodeDetachedCms, encodeDetachedCms, type SignedData, type SignerInfo } from '../asn1/cms.ts';
import { contextTag, der, derOid, derSequence, openDer, TAG } from '../asn1/der.ts';
import { OID } from '../asn1/oids.ts';
import { decodeGuid, EFI_GUID, encodeGuid } from './efi-guid.ts';
import { decodeEfiTime, encodeEfiTime } from './efi-time.ts';

/**
 * Authenticated variables (EFI_VARIABLE_AUTHENTICATION_2, UEFI 2.10 §8.2.2): `.auth` files, which firmware takes for
 * PK, KEK, db and dbx. Time, a certificate header and SignedData stand before the content.
 */
export interface AuthenticatedVariable {
  /** Milliseconds since 1970, whole seconds: firmware takes no older one than it has. */
  readonly time: number;
  readonly signature: SignedData;
  /** Signature lists. */
  readonly content: Uint8Array;
}

export type SecureBootVariable = 'PK' | 'KEK' | 'db' | 'dbx';

const FORMAT = 'EFI authenticated variable';
const REVISION = 0x0200;
const WIN_CERT_TYPE_EFI_GUID = 0x0ef1;
/** Bytes: the time, the certificate's header with its type. */
const TIME = 16;
const HEADER = 24;
/** Non-volatile, for boot services and at run time, time-based authenticated write access. */
const ATTRIBUTES = 0x27;

export function isAuthenticatedVariable(bytes: Uint8Array): boolean {
  return (
    bytes.length > TIME + HEADER && decodeGuid(bytes.subarray(TIME + 8, TIME + HEADER)) === EFI_GUID.pkcs7
  );
}

/** What is signed of a variable: its name, its vendor, attributes, time and content. */
export function variableToSign(name: SecureBootVariable, time: number, content: Uint8Array): Uint8Array {
  const vendor = name === 'PK' || name === 'KEK' ? EFI_GUID.globalVariable : EFI_GUID.imageSecurityDatabase;
  const attributes = Buffer.alloc(4);
  attributes.writeUInt32LE(ATTRIBUTES);
  return Buffer.concat([
    Buffer.from(name, 'utf16le'),
    encodeGuid(vendor),
    attributes,
    encodeEfiTime(time),
    content,
  ]);
}

/**
 * @param signer over the SHA-256 of `variableToSign`.
 * @param certificate the signer's, DER.
 */
export function encodeAuthenticatedVariable(
  time: number,
  content: Uint8Array,
  signer: SignerInfo,
  certificate: Uint8Array,
): Uint8Array {
  // Without its ContentInfo, as the specification says: older firmware finds the hash's name at a fixed byte.
  const info = openDer(encodeDetachedCms(signer, [certificate]), TAG.sequence, 'ContentInfo');
  info.next(TAG.oid);
  const signedData = info.enter(contextTag(0, true)).next(TAG.sequence).raw;
  const header = Buffer.alloc(8);
  header.writeUInt32LE(HEADER + signedData.length, 0);
  header.writeUInt16LE(REVISION, 4);
  header.writeUInt16LE(WIN_CERT_TYPE_EFI_GUID, 6);
  return Buffer.concat([encodeEfiTime(time), header, encodeGuid(EFI_GUID.pkcs7), signedData, content]);
}

/** Throws `Malformed`. The content is not looked at. */
export function decodeAuthenticatedVariable(bytes: Uint8Array): AuthenticatedVariable {
  if (bytes.length < TIME + HEADER) throw new Malformed(FORMAT, 'a cut header', bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const time = decodeEfiTime(bytes.subarray(0, TIME));
  if (time === undefined) throw new Malformed(FORMAT, 'no time');
  const length = view.getUint32(TIME, true);
  if (
    view.getUint16(TIME + 4, true) !== REVISION ||
    view.getUint16(TIME + 6, true) !== WIN_CERT_TYPE_EFI_GUID
  )
    throw new Malformed(FORMAT, 'another kind of certificate', TIME);
  if (!isAuthenticatedVariable(bytes))
    throw new Malformed(FORMAT, 'a certificate that is no PKCS#7', TIME + 8);
  if (length <= HEADER || TIME + length > bytes.length)
    throw new Malformed(FORMAT, `a certificate of ${length} bytes`, TIME);
  const signedData = bytes.subarray(TIME + HEADER, TIME + length);
  const wrapped = derSequence(derOid(OID.signedData), der(contextTag(0, true), signedData));
  return { time, signature: decodeDetachedCms(wrapped), content: bytes.subarray(TIME + length) };
}
