import { type KeyObject, randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { codeOf, IoError } from '../../errors/io.ts';
import { UsageError } from '../../errors/usage.ts';
import { explain, isGone, syncDirectory } from '../../files/atomic-file.ts';
import { makeDraft, type OldDrafts, removeOldDrafts } from '../../files/draft-folder.ts';
import { lstatIfThere, namesIfThere } from '../../files/read-if-there.ts';
import { encodeArmor, encodePem } from '../../formats/asn1/armor.ts';
import { decodeCertificate } from '../../formats/asn1/x509.ts';
import { KEYRINGS } from '../../trust/anchors.ts';
import { OPENPGP_KEY_NAMES, OPENPGP_KEYS } from '../seal-keys.ts';
import { issueCertificate } from './certificate.ts';
import { type CertifiedKey, ISSUING_CA } from './key-folder.ts';
import { KeyFolderDraft } from './key-folder-draft.ts';
import { type KeyKind, type MakeKeyPair, newKeyPair } from './key-pair.ts';
import { newOpenpgpKey, OPENPGP_BITS } from './openpgp-keys.ts';
import { type ProfileName, readProfile } from './profiles.ts';
import { addSecureBootKeys } from './secure-boot-keys.ts';
import { demandSite } from './site-name.ts';

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
  /** A root above the CA: it signs that one certificate, and its key can then lie in a safe. */
  readonly issuingCa?: boolean;
  /** Protects the keys of the CA and of the root above it: whoever finds them can use neither. */
  readonly caPassphrase?: string;
  /** Keys for Secure Boot firmware, too. */
  readonly secureBoot?: boolean;
  readonly onStep?: (what: string) => void;
  readonly onOldDrafts?: OnOldDrafts;
}

/** Hears of unfinished key folders that killed processes left beside this one: there are private keys in them. */
export type OnOldDrafts = (drafts: OldDrafts) => void;

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
  await demandNewKeyFolder(directory);
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

/** Throws a `UsageError` for a folder that holds something: keys are never overwritten. */
export async function demandNewKeyFolder(directory: string): Promise<void> {
  const target = resolve(directory);
  const there = await lstatIfThere(target);
  if (there && !there.isDirectory())
    throw new UsageError(
      `${directory} is there already and is not a folder; name another place for the keys.`,
    );
  if ((await namesIfThere(target)).length > 0)
    throw new UsageError(`${directory} is not empty, and keys are never overwritten; name another folder.`);
}

async function fill(draft: KeyFolderDraft, options: InitOptions): Promise<void> {
  // Whole seconds, and 24 hours back for machines whose clock runs in local time.
  const issued = Math.floor(options.now / 1000) * 1000;
  const notBefore = issued - DAY;
  const makeKeyPair = options.makeKeyPair ?? newKeyPair;

  let issuer: CertifiedKey | undefined;
  for (const name of [...(options.issuingCa ? (['root'] as const) : []), ...CERTIFIED]) {
    options.onStep?.(`${name} key`);
    const profile = readProfile(name satisfies ProfileName);
    const pair = await makeKeyPair(options.kind, options.rsaBits ?? profile.rsa_bits);
    // Never under the CA: who holds it can move a channel, and sign nothing that boots.
    const by = name === 'snapshot' ? undefined : issuer;
    const certificate = issueCertificate({
      profile,
      commonName: profile.common_name.replace('{site}', options.site),
      publicKey: pair.publicKey,
      notBefore,
      notAfter: issued + profile.days * DAY,
      serial: randomBytes(16),
      issuerKey: by?.privateKey ?? pair.privateKey,
      ...(by ? { issuer: by.certificate } : {}),
    });
    if (name === 'root' || name === 'ca')
      issuer = { certificate: decodeCertificate(certificate), privateKey: pair.privateKey };
    await draft.anchor(
      anchorFile(name, options.issuingCa),
      Buffer.from(encodePem('CERTIFICATE', certificate)),
    );
    const protects = name === 'root' || name === 'ca' ? options.caPassphrase : undefined;
    await draft.secret(`${name}.key`, privatePem(pair.privateKey, protects));
  }
  if (options.secureBoot) await addSecureBootKeys(draft, options, issued);
  for (const name of OPENPGP_KEY_NAMES) {
    options.onStep?.(`${name} key`);
    const purpose = OPENPGP_KEYS[name];
    const pair = await makeKeyPair('rsa', options.rsaBits ?? OPENPGP_BITS[purpose]);
    const { secret, publicKeyring } = await newOpenpgpKey(options.site, purpose, pair, notBefore);
    await draft.secret(`${name}.asc`, Buffer.from(secret));
    await draft.anchor(KEYRINGS[purpose], publicKeyring);
    if (purpose === 'payload')
      await draft.anchor('pubkey.asc', Buffer.from(encodeArmor('PUBLIC KEY BLOCK', publicKeyring)));
  }
}

/** PKCS #8; with a passphrase under AES-256. */
function privatePem(key: KeyObject, passphrase: string | undefined): Uint8Array {
  const how = { format: 'pem', type: 'pkcs8' } as const;
  return Buffer.from(
    key.export(passphrase === undefined ? how : { ...how, cipher: 'aes-256-cbc', passphrase }),
  );
}

/** In this order: the CA issues the leaves. */
const CERTIFIED = ['ca', 'codesign', 'boot', 'manifest', 'snapshot'] as const;

/** Loaders trust `ca.crt`: the root, where there is one. */
function anchorFile(name: 'root' | (typeof CERTIFIED)[number], issuingCa = false): string {
  if (name === 'root') return 'ca.crt';
  return name === 'ca' && issuingCa ? ISSUING_CA : `${name}.crt`;
}
