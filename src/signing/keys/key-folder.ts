import { createPublicKey, type KeyObject } from 'node:crypto';
import { basename, join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { isGnupgHome } from '../../files/gnupg-home.ts';
import { isThere, lstatIfThere, readIfThere } from '../../files/read-if-there.ts';
import { readWhole } from '../../files/reading.ts';
import type { Certificate, KeyUsage } from '../../formats/asn1/x509.ts';
import { KEYRINGS, type OpenpgpPurpose } from '../../trust/anchors.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { OPENPGP_KEYS, type OpenpgpKeyName } from '../seal-keys.ts';
import { isIssuedBy } from '../seal-plan.ts';
import { chooseSecret, withNumbers } from './openpgp-choice.ts';
import { isLocked, type OpenpgpSecret, readOpenpgpSecrets, unlockOpenpgp } from './openpgp-keys.ts';
import { type KeyAccess, unlocked } from './passphrase.ts';
import { readPrivateKeyFile } from './private-key-file.ts';
import { demandCommonName, demandLength, demandSigningKind, demandSuitable } from './suitable-certificate.ts';

/** A private key and the certificate that goes with it. */
export interface CertifiedKey {
  readonly certificate: Certificate;
  readonly privateKey: KeyObject;
}

/** The keys that sealing needs, read from an `init` folder. */
export interface Keys extends LoaderKeys {
  readonly codesign: CertifiedKey;
  readonly manifest: CertifiedKey;
  readonly openpgp: Readonly<Record<OpenpgpPurpose, OpenpgpSecret>>;
}

/** Those whose seals a loader looks at. */
export interface LoaderKeys {
  readonly ca: CertifiedKey;
  /** Certificates above the CA, the root last; none where it is the root itself. */
  readonly above: readonly Certificate[];
  readonly boot: CertifiedKey;
}

/**
 * Reads a key folder. Refuses keys that others may read, certificates outside their validity at `now`, of
 * the wrong purpose, not by this CA, or not of their key.
 *
 * @param now milliseconds since 1970.
 * @param leaving those that are about to be replaced: they may have ended.
 * @param access who knows the passphrases of keys that have one.
 * @throws Refusal; UsageError where there is no key folder, or one without all keys; IoError for a key that is there
 *   and cannot be read.
 */
export async function readKeyFolder(
  directory: string,
  now: number,
  leaving: ReadonlySet<string> = new Set(),
  access: KeyAccess = {},
): Promise<Keys> {
  await demandPrivate(directory, 'private', 0o700);
  await demandWhole(directory);
  const at = (name: string) => (leaving.has(name) ? undefined : now);
  const { ca, above } = await authorityKey(directory, at('ca'), access);
  const leaf = (name: 'codesign' | 'boot' | 'manifest') =>
    certifiedKey(directory, name, at(name), 'digitalSignature', ca.certificate, access);
  const openpgp = (name: OpenpgpKeyName) => readOpenpgpFile(directory, name, at(name), access);
  const keys = {
    ca,
    above,
    codesign: await leaf('codesign'),
    boot: await leaf('boot'),
    manifest: await leaf('manifest'),
    openpgp: {
      payload: await openpgp('openpgp'),
      script: await openpgp('openpgp-script'),
      manifest: await openpgp('openpgp-manifest'),
    },
  };
  demandOneKeyEach(directory, keys);
  return keys;
}

/** A key has one purpose: with two, whoever has a payload signed has a record signed. */
function demandOneKeyEach(directory: string, { ca, codesign, boot, manifest, openpgp }: Keys): void {
  const seen = new Map<string, string>();
  const all = {
    ca,
    codesign,
    boot,
    manifest,
    ...Object.fromEntries(Object.entries(OPENPGP_KEYS).map(([name, purpose]) => [name, openpgp[purpose]])),
  };
  for (const [name, { privateKey }] of Object.entries(all)) {
    const numbers = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).toString('base64');
    const before = seen.get(numbers);
    if (before !== undefined) {
      throw new Refusal(
        'wrong-purpose',
        `In ${directory} the keys ${before} and ${name} are the same one, and a key has one purpose; make another.`,
        { path: directory },
      );
    }
    seen.set(numbers, name);
  }
}

/** An earlier Bootseal signed payload and records with one key. */
async function demandWhole(directory: string): Promise<void> {
  const there = async (name: string) => (await lstatIfThere(join(directory, name))) !== undefined;
  if ((await there('private/manifest.key')) || !(await there('private/codesign.key'))) return;
  if (await there('anchors/manifest.crt')) return;
  throw new UsageError(
    `${directory} has keys of an earlier Bootseal, which had no key for records; make new ones with "bootseal init".`,
  );
}

/**
 * The OpenPGP key of a folder that signs, as `readKeyFolder` reads it.
 *
 * @param now undefined: whether it is in its time is not asked.
 */
export async function readOpenpgpFile(
  directory: string,
  name: OpenpgpKeyName,
  now: number | undefined,
  access: KeyAccess = {},
): Promise<OpenpgpSecret> {
  const { path, parts } = await readOpenpgpParts(directory, name, access);
  const keyring = keyringOf(directory, name);
  return chooseSecret(parts, path, { path: keyring, bytes: await readWhole(keyring) }, now);
}

/**
 * The OpenPGP key of this fingerprint, or undefined where the folder has no secret half of it. Where the folder holds
 * its certificate, that must let it sign.
 */
export async function readOpenpgpOf(
  directory: string,
  name: OpenpgpKeyName,
  fingerprint: string,
  now: number,
  access: KeyAccess = {},
): Promise<OpenpgpSecret | undefined> {
  const { path, parts } = await readOpenpgpParts(directory, name, access);
  const own = parts.filter(({ key }) => key.fingerprint === fingerprint);
  if (own.length === 0) return undefined;
  const keyring = keyringOf(directory, name);
  const bytes = await readIfThere(keyring);
  return bytes ? chooseSecret(own, path, { path: keyring, bytes }, now) : withNumbers(own, path, fingerprint);
}

async function readOpenpgpParts(directory: string, name: OpenpgpKeyName, { passphrase }: KeyAccess) {
  const path = await demandPrivate(directory, `private/${name}.asc`, 0o600);
  const bytes = await readWhole(path);
  const parts = readOpenpgpSecrets(bytes, path);
  // Of an export without its primary key a part is kept elsewhere, and the subkey is at hand.
  if (parts.some(({ privateKey }) => privateKey) || !isLocked(bytes)) return { path, parts };
  const opened = await unlocked(path, passphrase, (text) => unlockOpenpgp(bytes, text));
  return { path, parts: readOpenpgpSecrets(opened, path) };
}

function keyringOf(directory: string, name: OpenpgpKeyName): string {
  return join(directory, 'anchors', KEYRINGS[OPENPGP_KEYS[name]]);
}

/** Reads what seals for loaders are made with, as `readKeyFolder` does. */
export async function readLoaderKeys(
  directory: string,
  now: number,
  access: KeyAccess = {},
): Promise<LoaderKeys> {
  await demandPrivate(directory, 'private', 0o700);
  const { ca, above } = await authorityKey(directory, now, access);
  const boot = await certifiedKey(directory, 'boot', now, 'digitalSignature', ca.certificate, access);
  return { ca, above, boot };
}

/** Where a root stands above it, the certificate of the CA that issues leaves, and of those between. */
export const ISSUING_CA = 'issuing-ca.crt';

/**
 * Who issues leaves: `ca.crt`, or the first certificate of `issuing-ca.crt`, which leads to `ca.crt`.
 *
 * @param now undefined: whether it is valid is not asked.
 * @throws Refusal as `readKeyFolder`.
 */
export async function readAuthority(
  anchors: string,
  now: number | undefined,
): Promise<{ readonly path: string; readonly ca: Certificate; readonly above: readonly Certificate[] }> {
  const rootPath = join(anchors, 'ca.crt');
  const path = join(anchors, ISSUING_CA);
  if (!(await isThere(path))) {
    const ca = await readSignatory(rootPath, now, 'keyCertSign');
    return { path: rootPath, ca, above: [] };
  }
  const root = await readSignatory(rootPath, now, 'keyCertSign');
  const [ca, ...above] = inOrder(await readCertificatesFile(path), root);
  let below = ca;
  for (const [index, issuer] of above.entries()) {
    demandSuitable(path, below, now, 'keyCertSign', issuer);
    demandLength(issuer === root ? rootPath : path, issuer, index + 1);
    below = issuer;
  }
  return { path, ca, above };
}

/**
 * The way from the CA that issues leaves to the root, in whatever order its certificates stand in the file, and whether
 * the root is among them. What does not belong together stays as it stands, and is refused for what it is.
 */
function inOrder(
  found: readonly [Certificate, ...Certificate[]],
  root: Certificate,
): [Certificate, ...Certificate[]] {
  const between = found.filter(({ raw }) => Buffer.compare(raw, root.raw) !== 0);
  const isAbove = (one: Certificate) => between.some((other) => other !== one && isIssuedBy(other, one));
  const way: Certificate[] = between.filter((one) => !isAbove(one)).slice(0, 1);
  for (let last = way[0]; last; ) {
    const below: Certificate = last;
    last = between.find((one) => !way.includes(one) && isIssuedBy(below, one));
    if (last) way.push(last);
  }
  const [ca, ...rest] = way.length === between.length ? way : between;
  return ca ? [ca, ...rest, root] : [root];
}

/** The key that issues leaves, with its certificate and those above. */
export async function authorityKey(
  directory: string,
  now: number | undefined,
  access: KeyAccess = {},
): Promise<Pick<LoaderKeys, 'ca' | 'above'>> {
  const { path, ca, above } = await readAuthority(join(directory, 'anchors'), now);
  const keyPath = await demandPrivate(directory, 'private/ca.key', 0o600);
  const privateKey = await readPrivateKeyFile(keyPath, access);
  demandSigningKind(path, ca);
  if (!fits(ca, privateKey)) {
    throw new Refusal('unsafe-keys', `${keyPath} is not the key of ${path}.`, { path: keyPath });
  }
  return { ca: { certificate: ca, privateKey }, above };
}

/** @param now undefined: whether it is valid is not asked. */
export async function certifiedKey(
  directory: string,
  name: string,
  now: number | undefined,
  usage: KeyUsage,
  issuer?: Certificate,
  access: KeyAccess = {},
): Promise<CertifiedKey> {
  const keyPath = await demandPrivate(directory, `private/${name}.key`, 0o600);
  const path = join(directory, 'anchors', `${name}.crt`);
  const privateKey = await readPrivateKeyFile(keyPath, access);
  // Verifiers may hold several of these, while one takes another's place; we sign with our own.
  const several = name === 'codesign' || name === 'manifest';
  const certificate = several
    ? ownOf(await readLeavesFile(path), privateKey)
    : await readCertificateFile(path);
  demandSuitable(path, certificate, now, usage, issuer);
  if (name === 'boot') demandCommonName(path, certificate);
  if (!fits(certificate, privateKey)) {
    throw new Refusal('unsafe-keys', `${keyPath} is not the key of ${path}.`, { path: keyPath });
  }
  return { certificate, privateKey };
}

/**
 * A certificate whose key is elsewhere. Of several codesign leaves, while one takes another's place, the one that
 * began last.
 *
 * @throws Refusal as `readKeyFolder`.
 */
export async function readSignatory(
  path: string,
  now: number | undefined,
  usage: KeyUsage,
  issuer?: Certificate,
): Promise<Certificate> {
  const leaves = await readLeavesFile(path);
  const certificate = leaves.reduce((last, leaf) => (leaf.notBefore > last.notBefore ? leaf : last));
  demandSuitable(path, certificate, now, usage, issuer);
  return certificate;
}

/** Early userspace takes the word of every certificate in this file. */
async function readLeavesFile(path: string): Promise<[Certificate, ...Certificate[]]> {
  const leaves = await readCertificatesFile(path);
  const other = leaves.length > 1 && leaves.find(({ basicConstraints }) => basicConstraints?.ca);
  if (other && basename(path) === 'ca.crt') {
    throw new Refusal(
      'malformed',
      `${path} holds several certificates, and the root alone belongs there; the CA that issues leaves goes into ${ISSUING_CA}.`,
      { path },
    );
  }
  if (other) {
    throw new Refusal(
      'malformed',
      `${path} may hold leaf certificates only, and ${other.commonName} is a CA.`,
      {
        path,
      },
    );
  }
  return leaves;
}

/** The certificate of a key, among those that stand with it; the first where none is. */
export function ownOf(certificates: readonly [Certificate, ...Certificate[]], key: KeyObject): Certificate {
  return certificates.find((certificate) => fits(certificate, key)) ?? certificates[0];
}

export function fits(certificate: Certificate, key: KeyObject): boolean {
  return createPublicKey(key).equals(certificate.key.object);
}

/** Reads a file of one PEM certificate. Throws a `Refusal`. */
export async function readCertificateFile(path: string): Promise<Certificate> {
  const [certificate, more] = await readCertificatesFile(path);
  if (more) {
    throw new Refusal(
      'malformed',
      `${path} holds several certificates, and one alone belongs there; those of CAs go into ca.crt and ${ISSUING_CA}.`,
      { path },
    );
  }
  return certificate;
}

/**
 * Refuses a private file or folder that group or others may read, or that is a symlink.
 *
 * @throws UsageError where it is not there; IoError where that cannot be told.
 */
export async function demandPrivate(directory: string, name: string, wanted: number): Promise<string> {
  const path = join(directory, name);
  const stat = await lstatIfThere(path);
  if (!stat && name === 'private' && (await isGnupgHome(directory))) {
    throw new UsageError(
      `${directory} is a GnuPG home, and no key folder; in one made by "bootseal init" a signers.toml says "gpg_agent = true" of the keys that GnuPG has.`,
    );
  }
  // New keys are advised only where there are none: on a real site they would mean a new CA.
  if (!stat && name === 'private')
    throw new UsageError(
      `${directory} is no key folder: there is no ${path}. "bootseal init DIR" makes a key folder.`,
    );
  if (!stat)
    throw new UsageError(
      `${path} is missing, so ${directory} is only a part of a key folder; name a whole one.`,
    );
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
