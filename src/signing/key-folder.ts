import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodePem } from '../formats/armor.ts';
import { Malformed } from '../formats/malformed.ts';
import { OID } from '../formats/oids.ts';
import { type Certificate, decodeCertificate, type KeyUsage } from '../formats/x509.ts';
import { Refusal } from '../release/refusal.ts';
import { type OpenpgpSecret, readOpenpgpSecret } from './openpgp-keys.ts';

/** A private key and the certificate that goes with it. */
export interface CertifiedKey {
  readonly certificate: Certificate;
  readonly privateKey: KeyObject;
}

/** The keys that sealing needs, read from an `init` folder. */
export interface Keys {
  readonly ca: CertifiedKey;
  readonly codesign: CertifiedKey;
  readonly boot: CertifiedKey;
  readonly openpgp: OpenpgpSecret;
}

/**
 * Reads a key folder. Refuses keys that others may read, certificates outside their validity at `now`, of
 * the wrong purpose, not by this CA, or not of their key.
 *
 * @param now milliseconds since 1970.
 */
export async function readKeyFolder(directory: string, now: number): Promise<Keys> {
  await demandPrivate(directory, 'private', 0o700);
  const ca = await certifiedKey(directory, 'ca', now, 'keyCertSign');
  const codesign = await certifiedKey(directory, 'codesign', now, 'digitalSignature', ca.certificate);
  const boot = await certifiedKey(directory, 'boot', now, 'digitalSignature', ca.certificate);
  const path = await demandPrivate(directory, 'private/openpgp.asc', 0o600);
  const openpgp = await readOpenpgpSecret(await readFile(path, 'utf8'), path);
  return { ca, codesign, boot, openpgp };
}

async function certifiedKey(
  directory: string,
  name: string,
  now: number,
  usage: KeyUsage,
  issuer?: Certificate,
): Promise<CertifiedKey> {
  const keyPath = await demandPrivate(directory, `private/${name}.key`, 0o600);
  const path = join(directory, 'anchors', `${name}.crt`);
  const certificate = await readCertificateFile(path);
  demandPurpose(path, certificate, now, usage);
  if (issuer && Buffer.compare(certificate.issuer, issuer.subject) !== 0) {
    throw new Refusal(
      'untrusted-signer',
      `${path} was issued by ${certificate.issuerName}, not by ${issuer.commonName}.`,
      {
        path,
      },
    );
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(await readFile(keyPath));
  } catch {
    // OpenSSL's own message may quote the input; a key must not end in a log.
    throw new Refusal('malformed', `${keyPath} is no unencrypted PKCS#8 private key.`, { path: keyPath });
  }
  if (!createPublicKey(privateKey).equals(certificate.key.object)) {
    throw new Refusal('unsafe-keys', `${keyPath} is not the key of ${path}.`, { path: keyPath });
  }
  return { certificate, privateKey };
}

function demandPurpose(path: string, certificate: Certificate, now: number, usage: KeyUsage): void {
  const day = (time: number) => new Date(time).toISOString().slice(0, 10);
  if (now > certificate.notAfter) {
    throw new Refusal(
      'expired',
      `${path} ended on ${day(certificate.notAfter)}; nothing is sealed with it.`,
      {
        path,
        notAfter: day(certificate.notAfter),
      },
    );
  }
  if (now < certificate.notBefore) {
    throw new Refusal(
      'not-yet-valid',
      `${path} begins on ${day(certificate.notBefore)}, and this machine's clock says ${day(now)}.`,
      { path, notBefore: day(certificate.notBefore) },
    );
  }
  if (!certificate.keyUsage?.has(usage)) {
    throw new Refusal('wrong-purpose', `${path} lacks the key usage ${usage}.`, { path, lacks: usage });
  }
  if (!certificate.extKeyUsage?.includes(OID.codeSigning)) {
    throw new Refusal('wrong-purpose', `${path} lacks the extended key usage codeSigning.`, {
      path,
      lacks: 'codeSigning',
    });
  }
}

/** Reads a file of one PEM certificate. Throws a `Refusal`. */
export async function readCertificateFile(path: string): Promise<Certificate> {
  const text = await readFile(path, 'latin1').catch((error: NodeJS.ErrnoException) => {
    throw new Refusal('absent', `${path} cannot be read: ${error.code}.`, { path });
  });
  try {
    const [block, more] = decodePem(text);
    if (block?.label !== 'CERTIFICATE' || more) throw new Malformed('PEM', 'not one CERTIFICATE');
    return decodeCertificate(block.bytes);
  } catch (error) {
    throw new Refusal('malformed', `${path} is no certificate: ${(error as Error).message}.`, { path });
  }
}

/** Refuses a private file or folder that group or others may read, or that is a symlink. */
async function demandPrivate(directory: string, name: string, wanted: number): Promise<string> {
  const path = join(directory, name);
  const stat = await lstat(path).catch(() => undefined);
  if (!stat)
    throw new Refusal('absent', `${path} is missing; make a key folder with "bootseal init DIR".`, { path });
  if (stat.isSymbolicLink()) throw new Refusal('unsafe-keys', `${path} is a symbolic link.`, { path });
  if ((stat.mode & 0o077) !== 0) {
    const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
    throw new Refusal(
      'unsafe-keys',
      `${path} has mode ${mode}, so others on this machine may use it; run "chmod ${wanted.toString(8)} ${path}".`,
      { path, mode },
    );
  }
  return path;
}
