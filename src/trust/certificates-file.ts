import { readFile } from 'node:fs/promises';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { certificateBlocks } from '../formats/asn1/certificate-file.ts';
import { type Certificate, decodeCertificate } from '../formats/asn1/x509.ts';

/** Reads a file of certificates, PEM or DER. Throws a `Refusal`. */
export async function readCertificatesFile(path: string): Promise<[Certificate, ...Certificate[]]> {
  const bytes = await readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    const [first, ...rest] = certificateBlocks(bytes).map((der) => decodeCertificate(der));
    if (!first) throw new Malformed('PEM', 'no CERTIFICATE');
    return [first, ...rest];
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${path} is no certificate: ${error.message}.`, { path });
  }
}
