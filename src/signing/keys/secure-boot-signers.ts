import { createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { isThere, readIfThere } from '../../files/read-if-there.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { CertifiedSigner } from '../signatories.ts';
import { type DigestSigner, keySigner } from '../signers/digest-signer.ts';
import { makeSigner } from '../signers/make-signer.ts';
import { readSigners, SIGNERS_FILE } from '../signers/signers-file.ts';
import {
  demandPrivate,
  demandSuitable,
  fits,
  readCertificateFile,
  readPrivateKeyFile,
} from './key-folder.ts';

/** Whose key signs for firmware. */
export type SecureBootKey =
  /** An `init --secure-boot` folder; a program may sign for it. */
  | { readonly keys: string; readonly signerCommand?: readonly string[] }
  /** A key and a certificate as files, for keys that were enrolled long ago. */
  | { readonly key: string; readonly certificate: string };

const COMMAND_SECONDS = 60;

/** The signer of `db`. Throws a `Refusal`. @param now milliseconds since 1970. */
export async function readDbSigner(from: SecureBootKey, now: number): Promise<CertifiedSigner> {
  if ('certificate' in from) {
    // Of a certificate in firmware's db only the key counts: neither its dates nor its purposes are looked at there.
    const certificate = await readCertificateFile(from.certificate);
    const privateKey = await readPrivateKeyFile(from.key);
    demandFits(from.key, from.certificate, certificate, privateKey);
    return { certificate, signer: keySigner(privateKey, from.key) };
  }
  const path = join(from.keys, 'anchors', 'db.crt');
  if (!(await isThere(path))) {
    throw new Refusal(
      'absent',
      `${from.keys} holds no anchors/db.crt: make its keys with "bootseal init --secure-boot", or name --key and --certificate.`,
      { path },
    );
  }
  const certificate = await readCertificateFile(path);
  demandSuitable(path, certificate, now, 'digitalSignature');
  const elsewhere = await signerElsewhere(from, 'db', certificate.key.object);
  if (elsewhere) return { certificate, signer: elsewhere };
  await demandPrivate(from.keys, 'private', 0o700);
  const keyPath = await demandPrivate(from.keys, 'private/db.key', 0o600);
  const privateKey = await readPrivateKeyFile(keyPath);
  demandFits(keyPath, path, certificate, privateKey);
  return { certificate, signer: keySigner(privateKey, 'private/db.key') };
}

/** The signer for PCR values; undefined where the folder holds no `anchors/pcr.pub`. Throws a `Refusal`. */
export async function readPcrSigner(folder: string): Promise<DigestSigner | undefined> {
  const pem = await readPcrPublicKey(folder);
  if (!pem) return undefined;
  const publicKey = createPublicKey(Buffer.from(pem));
  const elsewhere = await signerElsewhere({ keys: folder }, 'pcr', publicKey);
  if (elsewhere) return elsewhere;
  if (!(await isThere(join(folder, 'private', 'pcr.key')))) return undefined;
  await demandPrivate(folder, 'private', 0o700);
  const keyPath = await demandPrivate(folder, 'private/pcr.key', 0o600);
  const privateKey = await readPrivateKeyFile(keyPath);
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
): Promise<DigestSigner | undefined> {
  const [program, ...rest] = from.signerCommand ?? [];
  if (program !== undefined) {
    const timeLimit = { seconds: COMMAND_SECONDS };
    return makeSigner({ kind: 'command', key, argv: [program, ...rest], timeLimit }, publicKey);
  }
  if (!(await isThere(join(from.keys, SIGNERS_FILE)))) return undefined;
  return (await readSigners(from.keys, { [key]: publicKey }))[key];
}

function demandFits(keyPath: string, path: string, certificate: Certificate, privateKey: KeyObject): void {
  if (fits(certificate, privateKey)) return;
  throw new Refusal('unsafe-keys', `${keyPath} is not the key of ${path}.`, { path: keyPath });
}
