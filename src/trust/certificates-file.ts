import { readFile } from 'node:fs/promises';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { decodePem } from '../formats/asn1/armor.ts';
import { type Certificate, decodeCertificate } from '../formats/asn1/x509.ts';

/** Reads a file of PEM certificates. Throws a `Refusal`. */
export async function readCertificatesFile(path: string): Promise<[Certificate, ...Certificate[]]> {
  const text = await readFile(path, 'latin1').catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    const [first, ...rest] = decodePem(text).map(({ label, bytes }) => {
      if (label !== 'CERTIFICATE') throw new Malformed('PEM', 'not one CERTIFICATE');
      return decodeCertificate(bytes);
    });
    if (!first) throw new Malformed('PEM', 'no CERTIFICATE');
    return [first, ...rest];
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${path} is no certificate: ${error.message}.`, { path });
  }
}
