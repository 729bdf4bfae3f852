import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { codeOf, IoError } from '../../errors/io.ts';
import { UsageError } from '../../errors/usage.ts';
import { explain, isGone, syncDirectory } from '../../files/atomic-file.ts';
import { makeDraft, type OldDrafts, removeOldDrafts } from '../../files/draft-folder.ts';
import { lstatIfThere, namesIfThere } from '../../files/read-if-there.ts';
import { encodeArmor, encodePem } from '../../formats/asn1/armor.ts';
import { decodeCertificate } from '../../formats/asn1/x509.ts';
import { issueCertificate } from './certificate.ts';
import type { CertifiedKey } from './key-folder.ts';
import { KeyFolderDraft } from './key-folder-draft.ts';
import { type KeyKind, type MakeKeyPair, newKeyPair } from './key-pair.ts';
import { newOpenpgpKey, OPENPGP_BITS } from './openpgp-keys.ts';
import { type ProfileName, readProfile } from './profiles.ts';
import { addSecureBootKeys } from './secure-boot-keys.ts';

const DAY = 86_400_000;

export interface InitOptions {
  /** Part of every common name: `boot.SITE`. */
  readonly site: string;
  readonly kind: KeyKind;
  /** Overrides the profiles' RSA modulus lengths. */
  readonly rsaBits?: number;
  /** Default: OpenSSL's. */
  readonly makeKeyPair?: MakeKeyPair;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Keys for Secure Boot firmware, too. */
  readonly secureBoot?: boolean;
  readonly onStep?: (what: string) => void;
  readonly onOldDrafts?: OnOldDrafts;
}

/** Hears of unfinished key folders that killed processes left beside this one: there are private keys in them. */
export type OnOldDrafts = (drafts: OldDrafts) => void;

/**
 * Throws a `UsageError` for what cannot be part of every certificate's name: a common name has at most
 * 64 characters (RFC 5280, ub-common-name), and `netboot CA ` stands before it.
 */
export function demandSite(site: string): void {
  if (/^[a-z0-9]([a-z0-9.-]{0,51}[a-z0-9])?$/.test(site)) return;
  throw new UsageError(
    `${JSON.stringify(site)} is no site name: write at most 53 small letters, digits, dots and dashes.`,
  );
}

/** Makes a key folder with new keys. Throws a `UsageError` or an `IoError`. */
export async function createKeyFolder(directory: string, options: InitOptions): Promise<void> {
  demandSite(options.site);
  await writeKeyFolder(directory, (draft) => fill(draft, options), options.onOldDrafts);
}

/**
 * Writes a key folder: `anchors/` for everyone, `private/` (0700, files 0600) for the signer. It appears
 * whole or not at all, and never over an existing one. What killed processes left of it is removed.
 *
 * @throws UsageError where the folder is not empty; IoError; what `fill` throws.
 */
export async function writeKeyFolder(
  directory: string,
  fill: (draft: KeyFolderDraft) => Promise<void>,
  onOldDrafts: OnOldDrafts = () => {},
): Promise<void> {
  const target = resolve(directory);
  const there = await lstatIfThere(target);
  if (there && !there.isDirectory())
    throw new UsageError(`${directory} is there already and is no folder; name another place for the keys.`);
  if ((await namesIfThere(target)).length > 0)
    throw new UsageError(`${directory} is not empty, and keys are never overwritten; name another folder.`);
  let draft: string | undefined;
  try {
    const old = await removeOldDrafts(target);
    if (old.removed.length > 0 || old.left.length > 0) onOldDrafts(old);
    draft = await makeDraft(target);
    await mkdir(join(draft, 'private'), { mode: 0o700 });
    await mkdir(join(draft, 'anchors'), { mode: 0o755 });
    await fill(new KeyFolderDraft(draft));
    await syncDirectory(draft);
    await rename(draft, target);
  } catch (error) {
    const clean = draft === undefined || (await isGone(draft));
    const code = error instanceof IoError ? undefined : codeOf(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST')
      throw new UsageError(`${directory} appeared meanwhile, and keys are never overwritten.`);
    throw code ? explain(error, directory, clean) : error;
  }
  await syncDirectory(dirname(target));
}

async function fill(draft: KeyFolderDraft, options: InitOptions): Promise<void> {
  // Whole seconds, and 24 hours back for machines whose clock runs in local time.
  const issued = Math.floor(options.now / 1000) * 1000;
  const notBefore = issued - DAY;
  const makeKeyPair = options.makeKeyPair ?? newKeyPair;

  let ca: CertifiedKey | undefined;
  for (const purpose of ['ca', 'codesign', 'boot', 'snapshot'] as const) {
    options.onStep?.(`${purpose} key`);
    const profile = readProfile(purpose satisfies ProfileName);
    const pair = await makeKeyPair(options.kind, options.rsaBits ?? profile.rsa_bits);
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
  const pair = await makeKeyPair('rsa', options.rsaBits ?? OPENPGP_BITS);
  const openpgp = await newOpenpgpKey(options.site, pair, notBefore);
  await draft.secret('openpgp.asc', Buffer.from(openpgp.secret));
  await draft.anchor('pubring.gpg', openpgp.publicKeyring);
  await draft.anchor('pubkey.asc', Buffer.from(encodeArmor('PUBLIC KEY BLOCK', openpgp.publicKeyring)));
}
