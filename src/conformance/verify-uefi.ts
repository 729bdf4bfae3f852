import { join } from 'node:path';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { statIfThere } from '../files/read-if-there.ts';
import { readImage } from '../files/read-image.ts';
import { readWhole } from '../files/reading.ts';
import {
  decodeSignatureLists,
  type EfiSignature,
  isSignatureLists,
} from '../formats/efi/efi-signature-list.ts';
import { decodeAuthenticatedVariable, isAuthenticatedVariable } from '../formats/efi/efi-variable.ts';
import { UKI } from '../formats/records/seal-names.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { decodeCertificates } from '../trust/anchors.ts';
import { decodeOr } from '../trust/check.ts';
import { type SecureBootVerdict, verifySecureBoot } from '../trust/secure-boot-check.ts';

export interface VerifyUefiOptions {
  /** An EFI image, or a tree with a `uki.efi`. */
  readonly target: string;
  /** An `anchors/` folder whose `db.crt` and `dbx.esl` count. */
  readonly anchors?: string;
  /** What firmware's db holds: certificates (PEM, DER), `.esl` or `.auth` files. */
  readonly db?: readonly string[];
  readonly dbx?: readonly string[];
}

export interface UefiVerdict {
  readonly target: string;
  /** Undefined: firmware would start it. */
  readonly refusal: Refusal | undefined;
  readonly verdict: SecureBootVerdict | undefined;
}

/** What firmware with Secure Boot makes of an image. Throws a `Refusal` where there is nothing to judge, or by. */
export async function verifyUefi(options: VerifyUefiOptions): Promise<UefiVerdict> {
  const { target } = options;
  const given =
    options.anchors === undefined ? undefined : (await readAnchorFolder(options.anchors)).secureBoot;
  const db = [...(given?.db ?? []), ...(await readAll(options.db))];
  const dbx = [...(given?.dbx ?? []), ...(await readAll(options.dbx))];
  if (db.length === 0) {
    throw new UsageError('Firmware with an empty db starts nothing; name a certificate with --db.');
  }
  const folder = (await statIfThere(target))?.isDirectory() ?? false;
  const path = folder ? join(target, UKI) : target;
  const bytes = await readImage(path);
  try {
    return { target: path, refusal: undefined, verdict: verifySecureBoot(path, bytes, { db, dbx }) };
  } catch (error) {
    if (error instanceof Refusal) return { target: path, refusal: error, verdict: undefined };
    throw error;
  }
}

async function readAll(paths: readonly string[] = []): Promise<EfiSignature[]> {
  const found: EfiSignature[] = [];
  for (const path of paths) found.push(...(await readEntries(path)));
  return found;
}

const NOBODY = '00000000-0000-0000-0000-000000000000';

async function readEntries(path: string): Promise<readonly EfiSignature[]> {
  const bytes = await readWhole(path);
  if (isSignatureLists(bytes)) return decodeOr(path, () => decodeSignatureLists(bytes));
  if (isAuthenticatedVariable(bytes))
    return decodeOr(path, () => decodeSignatureLists(decodeAuthenticatedVariable(bytes).content));
  const certificates = decodeCertificates(path, bytes);
  if (certificates.length === 0) {
    return decodeOr(path, () => {
      throw new Malformed('db', 'no certificate in it');
    });
  }
  return certificates.map((certificate) => ({ owner: NOBODY, type: 'x509', certificate }));
}
