import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { isThere, lstatIfThere, readIfThere } from '../../files/read-if-there.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { KEYRINGS } from '../../trust/anchors.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import type { AnsweringKeys } from '../requests/answer-request.ts';
import type { OpenedRequest } from '../requests/open-request.ts';
import {
  OPENPGP_KEY_NAMES,
  OPENPGP_KEYS,
  type OpenpgpKeyName,
  OWN_LEAVES,
  type OwnLeaf,
} from '../seal-keys.ts';
import {
  byOpenpgpKey,
  type CertifiedSigner,
  certifiedSigner,
  type LoaderSealingKeys,
  loaderSignersOf,
  type OpenpgpSigner,
  openpgpSigner,
  type SealingKeys,
  type Signatories,
  signersOf,
} from '../signatories.ts';
import { type DigestSigner, keySigner } from '../signers/digest-signer.ts';
import { makeSigner } from '../signers/make-signer.ts';
import { hasSigners, readSigners, SIGNERS_FILE } from '../signers/signers-file.ts';
import type { SigningKey } from '../signers/signing-keys.ts';
import {
  authorityKey,
  certifiedKey,
  demandPrivate,
  fits,
  ISSUING_CA,
  readKeyFolder,
  readLoaderKeys,
  readOpenpgpFile,
  readOpenpgpOf,
} from './key-folder.ts';
import { findPublic } from './openpgp-choice.ts';
import type { KeyAccess } from './passphrase.ts';
import { readPrivateKeyFile } from './private-key-file.ts';
import { readLoaderSignatories, readSignatories } from './public-half.ts';
import { demandSuitable } from './suitable-certificate.ts';

/**
 * Who signs for an `init` folder: its key files, and whoever its `signers.toml` names instead. Throws a
 * `Refusal`.
 *
 * @param now milliseconds since 1970; undefined: whether the certificates are valid is not asked.
 */
export async function readSealingKeys(
  directory: string,
  now: number | undefined,
  signerCommand?: readonly string[],
  access: KeyAccess = {},
): Promise<SealingKeys> {
  if (!signerCommand && !(await hasSigners(directory))) {
    const leaving = now === undefined ? ALL_KEYS : undefined;
    return signersOf(await readKeyFolder(directory, now ?? 0, leaving, access));
  }
  const signatories = await readSignatories(join(directory, 'anchors'), now);
  if (signerCommand) {
    const by = (key: string, publicKey: KeyObject) => asked(signerCommand, key, publicKey, access);
    const certified = (key: 'ca' | OwnLeaf | 'boot'): CertifiedSigner => ({
      certificate: signatories[key],
      signer: by(key, signatories[key].key.object),
    });
    const openpgp = (name: OpenpgpKeyName): OpenpgpSigner => {
      const key = signatories.openpgp[OPENPGP_KEYS[name]];
      return { key, signer: by(name, openpgpObject(key)) };
    };
    return {
      ca: certified('ca'),
      above: signatories.above,
      codesign: certified('codesign'),
      manifest: certified('manifest'),
      boot: certified('boot'),
      openpgp: {
        payload: openpgp('openpgp'),
        script: openpgp('openpgp-script'),
        manifest: openpgp('openpgp-manifest'),
      },
    };
  }
  const { ca, above, codesign, manifest, boot } = signatories;
  const signers = await readSigners(directory, publicKeys(signatories), access);
  const of = elsewhereOr(directory, signers, now, access);
  const openpgp = async (name: OpenpgpKeyName): Promise<OpenpgpSigner> => {
    const signer = signers[name];
    if (signer) return { key: signatories.openpgp[OPENPGP_KEYS[name]], signer };
    return openpgpSigner(name, await readOpenpgpFile(directory, name, now, access));
  };
  return {
    ca: await of('ca', ca),
    above,
    codesign: await of('codesign', codesign, ca),
    manifest: await of('manifest', manifest, ca),
    boot: await of('boot', boot, ca),
    openpgp: {
      payload: await openpgp('openpgp'),
      script: await openpgp('openpgp-script'),
      manifest: await openpgp('openpgp-manifest'),
    },
  };
}

const ALL_KEYS: ReadonlySet<string> = new Set<SigningKey>([
  'ca',
  ...OWN_LEAVES,
  'boot',
  ...OPENPGP_KEY_NAMES,
]);

/** Of every key that may be in `signers.toml`. */
function publicKeys({ ca, codesign, manifest, boot, openpgp }: Signatories) {
  const keys: Partial<Record<SigningKey, KeyObject>> = {
    ca: ca.key.object,
    codesign: codesign.key.object,
    manifest: manifest.key.object,
    boot: boot.key.object,
  };
  for (const [name, { object }] of byOpenpgpKey(openpgp)) if (object) keys[name] = object;
  return keys;
}

/** The same for the keys that loaders look at. */
export async function readLoaderSealingKeys(
  directory: string,
  now: number,
  access: KeyAccess = {},
): Promise<LoaderSealingKeys> {
  if (!(await hasSigners(directory))) return loaderSignersOf(await readLoaderKeys(directory, now, access));
  const { ca, above, boot } = await readLoaderSignatories(join(directory, 'anchors'), now);
  const signers = await readSigners(directory, { ca: ca.key.object, boot: boot.key.object }, access);
  const of = elsewhereOr(directory, signers, now, access);
  return { ca: await of('ca', ca), above, boot: await of('boot', boot, ca) };
}

type Signers = Partial<Record<SigningKey, DigestSigner>>;

function elsewhereOr(directory: string, signers: Signers, now: number | undefined, access: KeyAccess) {
  return async (
    name: 'ca' | 'boot' | OwnLeaf,
    certificate: Certificate,
    issuer?: Certificate,
  ): Promise<CertifiedSigner> => {
    const signer = signers[name];
    if (signer) return { certificate, signer };
    if (name === 'ca') return certifiedSigner(name, (await authorityKey(directory, now, access)).ca);
    return certifiedSigner(
      name,
      await certifiedKey(directory, name, now, 'digitalSignature', issuer, access),
    );
  };
}

/** Seconds that a program named on the command line has for one signature. */
const COMMAND_SECONDS = 60;

/** The signer that a program named on the command line is. */
export function asked(
  [program = '', ...rest]: readonly string[],
  key: string,
  publicKey: KeyObject,
  access: KeyAccess = {},
): DigestSigner {
  const { passphrase: _, ...waiting } = access;
  const timeLimit = { seconds: COMMAND_SECONDS, ...waiting };
  return makeSigner({ kind: 'command', key, argv: [program, ...rest], timeLimit }, publicKey);
}

function openpgpObject({ object, fingerprint }: OpenpgpKey): KeyObject {
  if (object) return object;
  throw new Refusal(
    'wrong-purpose',
    `The OpenPGP key ${fingerprint} is of a kind that Bootseal cannot sign with.`,
    {
      fingerprint,
    },
  );
}

/** One program signs for every key of the site that a request asks for. */
export function answeringCommand(
  command: readonly string[],
  { signatories, others }: OpenedRequest,
  access: KeyAccess = {},
): AnsweringKeys {
  const by = (key: string, publicKey: KeyObject) => asked(command, key, publicKey, access);
  if (others.length > 0) {
    throw new UsageError('One program cannot sign for several CAs; name a key folder for each with --keys.');
  }
  const { ca, codesign, manifest, boot, openpgp } = signatories;
  return {
    signers: new Map([
      ['codesign', by('codesign', codesign.key.object)],
      ['manifest', by('manifest', manifest.key.object)],
      ['boot', by('boot', boot.key.object)],
      ...byOpenpgpKey(openpgp).map(([name, key]) => [name, by(name, openpgpObject(key))] as const),
    ]),
    issuers: new Map([['leaf', { certificate: ca, signer: by('ca', ca.key.object) }]]),
  };
}

/**
 * Those keys of several folders that a request asks for. A folder may hold some and not others: who has the
 * OpenPGP key need not have the CA.
 *
 * @throws Refusal for a key that others may read, and for a certificate that has ended; UsageError for a folder that
 *   is none of keys; IoError for a key that is there and cannot be read.
 */
export async function readAnsweringKeys(
  directories: readonly string[],
  { signatories, others }: Pick<OpenedRequest, 'signatories' | 'others'>,
  now: number,
  access: KeyAccess = {},
): Promise<AnsweringKeys> {
  const cas = [
    { suffix: '', ...signatories },
    ...others.map((other) => ({ suffix: `-${other.id}`, ...other.signatories })),
  ];
  const signers = new Map<string, DigestSigner>();
  const issuers = new Map<string, CertifiedSigner>();
  for (const directory of directories) {
    await demandPrivateFolder(directory);
    const of = (name: 'ca' | 'boot' | OwnLeaf, certificate: Certificate) =>
      signerOf(directory, name, certificate, now, access);
    for (const name of OWN_LEAVES) {
      const mine = await of(name, signatories[name]);
      if (mine) signers.set(name, mine);
    }
    for (const { suffix, ca, boot } of cas) {
      const issuer = await of('ca', ca);
      if (issuer) issuers.set(`leaf${suffix}`, { certificate: ca, signer: issuer });
      const own = await of('boot', boot);
      if (own) signers.set(`boot${suffix}`, own);
    }
    for (const [name, key] of byOpenpgpKey(signatories.openpgp)) {
      const mine = await openpgpSignerOf(directory, name, key, now, access);
      if (mine) signers.set(name, mine);
    }
  }
  return { signers, issuers };
}

/** Undefined where the folder has no such key, or another one under that name. */
async function openpgpSignerOf(
  directory: string,
  name: OpenpgpKeyName,
  key: OpenpgpKey,
  now: number,
  access: KeyAccess,
): Promise<DigestSigner | undefined> {
  const elsewhere =
    key.object && (await holdsOpenpgp(directory, name, key, now))
      ? (await readSigners(directory, { [name]: key.object }, access))[name]
      : undefined;
  if (elsewhere) return elsewhere;
  if (!(await holdsFile(directory, `${name}.asc`))) return undefined;
  const secret = await readOpenpgpOf(directory, name, key.fingerprint, now, access);
  return secret && openpgpSigner(name, secret).signer;
}

async function demandPrivateFolder(directory: string): Promise<void> {
  if (await lstatIfThere(join(directory, 'private'))) {
    await demandPrivate(directory, 'private', 0o700);
  } else if (!(await hasSigners(directory))) {
    throw new UsageError(
      `${directory} is no key folder: it holds neither private keys nor a ${SIGNERS_FILE} that says who has them.`,
    );
  }
}

/** Whether a key is there at all. A link counts: whoever reads it then refuses it by name. */
async function holdsFile(directory: string, name: string): Promise<boolean> {
  return (await lstatIfThere(join(directory, 'private', name))) !== undefined;
}

/** Undefined where the folder has no such key, or that of another certificate. */
async function signerOf(
  directory: string,
  name: 'ca' | 'boot' | OwnLeaf,
  certificate: Certificate,
  now: number,
  access: KeyAccess,
): Promise<DigestSigner | undefined> {
  const usage = name === 'ca' ? 'keyCertSign' : 'digitalSignature';
  const key = certificate.key.object;
  const elsewhere = (await holds(directory, name, certificate))
    ? (await readSigners(directory, { [name]: key }, access))[name]
    : undefined;
  if (!elsewhere) {
    if (!(await holdsFile(directory, `${name}.key`))) return undefined;
    const path = await demandPrivate(directory, `private/${name}.key`, 0o600);
    const privateKey = await readPrivateKeyFile(path, access);
    if (!fits(certificate, privateKey)) return undefined;
    demandSuitable(`${name}.crt of the request`, certificate, now, usage);
    return keySigner(privateKey, `private/${name}.key`);
  }
  demandSuitable(`${name}.crt of the request`, certificate, now, usage);
  return elsewhere;
}

/** Which certificate a key elsewhere belongs to, the folder says by having it among its anchors. */
async function holds(directory: string, name: string, { raw }: Certificate): Promise<boolean> {
  const issuing = name === 'ca' && (await isThere(join(directory, 'anchors', ISSUING_CA)));
  const path = join(directory, 'anchors', issuing ? ISSUING_CA : `${name}.crt`);
  if (!(await isThere(path))) return false;
  return (await readCertificatesFile(path)).some((own) => Buffer.compare(own.raw, raw) === 0);
}

async function holdsOpenpgp(
  directory: string,
  name: OpenpgpKeyName,
  { fingerprint }: OpenpgpKey,
  now: number,
): Promise<boolean> {
  const path = join(directory, 'anchors', KEYRINGS[OPENPGP_KEYS[name]]);
  const bytes = await readIfThere(path);
  return bytes !== undefined && findPublic({ path, bytes }, fingerprint, now) !== undefined;
}
