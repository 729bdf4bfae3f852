import { Malformed } from '../../errors/malformed.ts';

/** EFI_GUID (UEFI 2.10 appendix A): three little-endian numbers, then eight bytes as they are written. */

export const EFI_GUID = {
  /** PK and KEK are variables of this vendor. */
  globalVariable: '8be4df61-93ca-11d2-aa0d-00e098032b8c',
  /** db, dbx and dbt. */
  imageSecurityDatabase: 'd719b2cb-3d3a-4596-a3bc-dad00e67656f',
  /** Types of signatures (UEFI 2.10 §32.4.1). */
  x509: 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072',
  sha256: 'c1c41626-504c-4092-aca9-41f936934328',
  x509Sha256: '3bd2a492-96c0-4079-b420-fcf98ef103ed',
  x509Sha384: '7076876e-80c2-4ee6-aad2-28b349a6865b',
  x509Sha512: '446dbf63-2502-4cda-bcfa-2465d2b0fe9d',
  /** EFI_CERT_TYPE_PKCS7_GUID, of authenticated variables. */
  pkcs7: '4aafd29d-68df-49ee-8aa9-347d375665a7',
} as const;

const GUID = /^([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})$/;

/** 16 bytes. Throws `Malformed` for what is no GUID in small letters. */
export function encodeGuid(text: string): Uint8Array {
  const [, first, second, third, ...rest] = GUID.exec(text) ?? [];
  if (first === undefined || second === undefined || third === undefined)
    throw new Malformed('EFI_GUID', JSON.stringify(text));
  return Buffer.concat([
    ...[first, second, third].map((part) => Buffer.from(part, 'hex').reverse()),
    ...rest.map((part) => Buffer.from(part, 'hex')),
  ]);
}

/** The text of 16 bytes, in small letters. */
export function decodeGuid(bytes: Uint8Array): string {
  if (bytes.length !== 16) throw new Malformed('EFI_GUID', `${bytes.length} bytes`);
  const octets = Buffer.from(bytes);
  const reversed = (from: number, to: number) =>
    Buffer.from(octets.subarray(from, to)).reverse().toString('hex');
  return [
    ...[reversed(0, 4), reversed(4, 6), reversed(6, 8)],
    ...[octets.subarray(8, 10).toString('hex'), octets.subarray(10).toString('hex')],
  ].join('-');
}
