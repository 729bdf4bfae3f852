import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { IoError } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { explain, isGone, syncDirectory } from '../../files/atomic-file.ts';
import { namesIfThere } from '../../files/read-if-there.ts';
import { encodeArmor, encodePem } from '../../formats/asn1/armor.ts';
import { decodeCertificate } from '../../formats/asn1/x509.ts';
import { issueCertificate } from './certificate.ts';
import type { CertifiedKey } from './key-folder.ts';
import { KeyFolderDraft } from './key-folder-draft.ts';
import { type KeyKind, newKeyPair } from './key-pair.ts';
import { newOpenpgpKey } from './openpgp-keys.ts';
import { type ProfileName, readProfile } from './profiles.ts';
import { addSecureBootKeys } from './secure-boot-keys.ts';

const DAY = 86_400_000;

export interface InitOptions {
  /** Part of every common name: `boot.SITE`. */
  readonly site: string;
  readonly kind: KeyKind;
  /** Overrides the profiles' RSA modulus lengths. */
  readonly rsaBits?: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Keys for Secure Boot firmware, too. */
  readonly secureBoot?: boolean;
  readonly onStep?: (what: string) => void;
}

/**
 * Throws a `Refusal` (`malformed`) for what cannot be part of every certificate's name: a common name has at most
 * 64 characters (RFC 5280, ub-common-name), and `netboot CA ` stands before it.
 */
export function demandSite(site: string): void {
  if (/^[a-z0-9]([a-z0-9.-]{0,51}[a-z0-9])?$/.test(site)) return;
  throw new Refusal(
    'malformed',
    `${JSON.stringify(site)} is no site name: at most 53 small letters, digits, dots and dashes.`,
    { site },
  );
}

/** Makes a key folder with new keys. Throws a `Refusal` or a `IoError`. */
export async function createKeyFolder(directory: string, options: InitOptions): Promise<void> {
  demandSite(options.site);
  await writeKeyFolder(directory, (draft) => fill(draft, options));
}

/**
 * Writes a key folder: `anchors/` for everyone, `private/` (0700, files 0600) for the signer. It appears
 * whole or not at all, and never over an existing one.
 */
export async function writeKeyFolder(
  directory: string,
  fill: (draft: KeyFolderDraft) => Promise<void>,
): Promise<void> {
  const target = resolve(directory);
  if ((await namesIfThere(target)).length > 0) {
    throw new Refusal('unsafe-path', `${directory} is not empty; keys are never overwritten.`, {
      path: directory,
    });
  }
  const draft = join(dirname(target), `.bootseal-${basename(target)}-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await mkdir(draft, { mode: 0o755 });
    await mkdir(join(draft, 'private'), { mode: 0o700 });
    await mkdir(join(draft, 'anchors'), { mode: 0o755 });
    await fill(new KeyFolderDraft(draft));
    await syncDirectory(draft);
    await rename(draft, target);
  } catch (error) {
    const clean = await isGone(draft);
    if (error instanceof Refusal || error instanceof IoError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'ENOTDIR' || code === 'EEXIST') {
      throw new Refusal('unsafe-path', `${directory} appeared meanwhile; keys are never overwritten.`, {
        path: directory,
      });
    }
    throw code ? explain(error, directory, clean) : error;
  }
  await syncDirectory(dirname(target));
}

async function fill(draft: KeyFolderDraft, options: InitOptions): Promise<void> {
  // Whole seconds, and 24 hours back for machines whose clock runs in local time.
  const issued = Math.floor(options.now / 1000) * 1000;
  const notBefore = issued - DAY;

  let ca: CertifiedKey | undefined;
  for (const purpose of ['ca', 'codesign', 'boot', 'snapshot'] as const) {
    options.onStep?.(`${purpose} key`);
    const profile = readProfile(purpose satisfies ProfileName);
    const pair = await newKeyPair(options.kind, options.rsaBits ?? profile.rsa_bits);
    const commonName = profile.common_name.replace('{site}', options.site);
    const issuer = purpose === 'snapshot' ? undefined : ca;
    const certificate = issueCertificate({
      profile,
      commonName,
      publicKey: pair.publicKey,
      notBefore,
      notAfter: issued + profile.days * DAY,
      serial: randomBytes(16),
      issuerKey: issuer?.privateKey ?? pair.privateKey,
      ...(issuer ? { issuer: issuer.certificate } : {}),
    });
    if (purpose === 'ca') ca = { certificate: decodeCertificate(certificate), privateKey: pair.privateKey };
    await draft.anchor(`${purpose}.crt`, Buffer.from(encodePem('CERTIFICATE', certificate)));
    await draft.secret(
      `${purpose}.key`,
      Buffer.from(pair.privateKey.export({ format: 'pem', type: 'pkcs8' })),
    );
  }
  if (options.secureBoot) await addSecureBootKeys(draft, options, issued);
  options.onStep?.('OpenPGP key');
  const openpgp = await newOpenpgpKey(options.site, options.rsaBits ?? 4096, notBefore);
  await draft.secret('openpgp.asc', Buffer.from(openpgp.secret));
  await draft.anchor('pubring.gpg', openpgp.publicKeyring);
  await draft.anchor('pubkey.asc', Buffer.from(encodeArmor('PUBLIC KEY BLOCK', openpgp.publicKeyring)));
}
