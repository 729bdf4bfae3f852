import { createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { isThere, lstatIfThere, readIfThere } from '../../files/read-if-there.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { CertifiedSigner } from '../signatories.ts';
import { type DigestSigner, keySigner } from '../signers/digest-signer.ts';

import { hasSigners, readSigners } from '../signers/signers-file.ts';
import { demandPrivate, fits, readCertificateFile } from './key-folder.ts';
import type { KeyAccess } from './passphrase.ts';
import { readPrivateKeyFile } from './private-key-file.ts';
import { asked } from './sealing-keys.ts';
import { demandSuitable } from './suitable-certificate.ts';

/** Whose key signs for firmware. */
export type SecureBootKey =
  /** An `init --secure-boot` folder; a program may sign for it. */
  | { readonly keys: string; readonly signerCommand?: readonly string[] }
  /** A key and a certificate as files, for keys that were enrolled long ago. */
  | { readonly key: string; readonly certificate: string };

/** The signer of `db`. Throws a `Refusal`, a `UsageError` where the folder has no such key. @param now milliseconds since 1970. */
export async function readDbSigner(
  from: SecureBootKey,
  now: number,
  access: KeyAccess = {},
): Promise<CertifiedSigner> {
  if ('certificate' in from) {
    // Of a certificate in firmware's db only the key counts: neither its dates nor its purposes are looked at there.
    const certificate = await readCertificateFile(from.certificate);
    const privateKey = await readPrivateKeyFile(from.key, access);
    demandFits(from.key, from.certificate, certificate, privateKey);
    return { certificate, signer: keySigner(privateKey, from.key) };
  }
  const path = join(from.keys, 'anchors', 'db.crt');
  if (!(await isThere(path))) {
    throw new UsageError(
      `${from.keys} holds no anchors/db.crt, so it has no key for Secure Boot; name a folder of "bootseal init --secure-boot", or --key and --certificate.`,
    );
  }
  const certificate = await readCertificateFile(path);
  demandSuitable(path, certificate, now, 'digitalSignature');
  const elsewhere = await signerElsewhere(from, 'db', certificate.key.object, access);
  if (elsewhere) return { certificate, signer: elsewhere };
  await demandPrivate(from.keys, 'private', 0o700);
  const keyPath = await demandPrivate(from.keys, 'private/db.key', 0o600);
  const privateKey = await readPrivateKeyFile(keyPath, access);
  demandFits(keyPath, path, certificate, privateKey);
  return { certificate, signer: keySigner(privateKey, 'private/db.key') };
}

/** The signer for PCR values; undefined where the folder holds no `anchors/pcr.pub`. Throws a `Refusal`. */
export async function readPcrSigner(
  folder: string,
  access: KeyAccess = {},
): Promise<DigestSigner | undefined> {
  const pem = await readPcrPublicKey(folder);
  if (!pem) return undefined;
  const publicKey = createPublicKey(Buffer.from(pem));
  const elsewhere = await signerElsewhere({ keys: folder }, 'pcr', publicKey, access);
  if (elsewhere) return elsewhere;
  // Of a public half there is no `private` either.
  if (!(await lstatIfThere(join(folder, 'private', 'pcr.key')))) return undefined;
  await demandPrivate(folder, 'private', 0o700);
  const keyPath = await demandPrivate(folder, 'private/pcr.key', 0o600);
  const privateKey = await readPrivateKeyFile(keyPath, access);
  if (!createPublicKey(privateKey).equals(publicKey))
    throw new Refusal('unsafe-keys', `${keyPath} is not the key of anchors/pcr.pub.`, { path: keyPath });
  return keySigner(privateKey, 'private/pcr.key');
}

/** `pcr.pub` of an `init` folder or of its public half: PEM; undefined where there is none. */
export async function readPcrPublicKey(folder: string): Promise<Uint8Array | undefined> {
  for (const path of [join(folder, 'anchors', 'pcr.pub'), join(folder, 'pcr.pub')]) {
    const bytes = await readIfThere(path);
    if (!bytes) continue;
    try {
      if (createPublicKey(bytes).asymmetricKeyType === 'rsa') return bytes;
    } catch {
      // Said below: what it is instead does not matter.
    }
    throw new Refusal('malformed', `${path} is no RSA public key in PEM.`, { path });
  }
  return undefined;
}

async function signerElsewhere(
  from: Extract<SecureBootKey, { keys: string }>,
  key: 'db' | 'pcr',
  publicKey: KeyObject,
  access: KeyAccess,
): Promise<DigestSigner | undefined> {
  if (from.signerCommand) return asked(from.signerCommand, key, publicKey, access);
  if (!(await hasSigners(from.keys))) return undefined;
  return (await readSigners(from.keys, { [key]: publicKey }, access))[key];
}

function demandFits(keyPath: string, path: string, certificate: Certificate, privateKey: KeyObject): void {
  if (fits(certificate, privateKey)) return;
  throw new Refusal('unsafe-keys', `${keyPath} is not the key of ${path}.`, { path: keyPath });
}
