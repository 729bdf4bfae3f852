import { createHash, randomBytes } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { encodeArmor, encodePem } from '../../formats/asn1/armor.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { decodeOpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { encodeTransferableKey, splitTransferableKeys } from '../../formats/openpgp/openpgp-transferable.ts';
import { SEAL } from '../../formats/records/seal-names.ts';
import {
  encodeSuccessors,
  SUCCESSION_KINDS,
  type Succession,
  type SuccessionKind,
} from '../../formats/records/successors.ts';
import { KEYRINGS, type OpenpgpPurpose } from '../../trust/anchors.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { OPENPGP_KEY_NAMES, OPENPGP_KEYS, type OpenpgpKeyName } from '../seal-keys.ts';
import { sealRecord, sealRecordOpenpgp } from '../seal-record.ts';
import { betweenOf, certifiedSigner, openpgpSigner } from '../signatories.ts';
import { issueCertificate } from './certificate.ts';
import { type OnOldDrafts, writeKeyFolder } from './init.ts';
import {
  type CertifiedKey,
  demandPrivate,
  fits,
  ISSUING_CA,
  type Keys,
  readKeyFolder,
} from './key-folder.ts';
import type { KeyFolderDraft } from './key-folder-draft.ts';
import { type MakeKeyPair, newKeyPair } from './key-pair.ts';
import { OldKeyFolder, wholeFile } from './old-key-folder.ts';
import { newOpenpgpKey, OPENPGP_BITS, oldFormat } from './openpgp-keys.ts';
import { type AskPassphrase, accessOf } from './passphrase.ts';
import { readPrivateKeyFile } from './private-key-file.ts';
import { type ProfileName, readProfile } from './profiles.ts';
import { DEFAULT_ROTATION } from './rotation-kinds.ts';
import { readSnapshotKey } from './snapshot-key.ts';

const DAY = 86_400_000;
const MAX_PACKETS = 10_000;

/** The record of who follows whom, beside the anchors, with a seal by each of the old keys of records. */
export const SUCCESSORS = 'successors';

export interface RotateOptions {
  readonly only?: readonly SuccessionKind[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Overrides the profiles' RSA modulus lengths. */
  readonly rsaBits?: number;
  /** Default: OpenSSL's. */
  readonly makeKeyPair?: MakeKeyPair;
  /** Who knows the passphrases of the old keys. */
  readonly passphrase?: AskPassphrase;
  readonly onStep?: (what: string) => void;
  readonly onOldDrafts?: OnOldDrafts;
}

export interface Replaced extends Succession {
  /** Milliseconds since 1970, of the new one; an OpenPGP key has no end. */
  readonly begins: number;
  readonly ends: number | undefined;
}

export interface Rotated {
  /** Loaders have to be built anew: what they trust is another certificate. */
  readonly newTrust: boolean;
  readonly steps: readonly Replaced[];
  readonly warnings: readonly string[];
}

/**
 * Makes a key folder whose keys follow those of another, which stays as it is. Its `anchors/` are for the
 * overlap: what early userspace, GRUB and readers of channels hold is the new key and the one it replaces.
 * `anchors-after/` is what they shall hold once nothing that is still in use was signed by the old one.
 *
 * A new CA brings new leaves with it, and shares no anchors with the old one: each loader trusts its own.
 *
 * @throws Refusal, UsageError, IoError; nothing is written then.
 */
export async function rotateKeyFolder(
  directory: string,
  out: string,
  options: RotateOptions,
): Promise<Rotated> {
  const kinds = new Set<SuccessionKind>(options.only ?? DEFAULT_ROTATION);
  if (kinds.has('root')) kinds.add('ca');
  if (kinds.has('ca')) for (const leaf of LEAVES) kinds.add(leaf);
  const keys = await readKeyFolder(directory, options.now, kinds, accessOf(options));
  let rotated: Rotated | undefined;
  const fill = async (draft: KeyFolderDraft) => {
    rotated = await new Rotation(directory, keys, kinds, options, draft).run();
  };
  await writeKeyFolder(out, fill, options.onOldDrafts);
  if (!rotated) throw new RangeError('nothing was written');
  return rotated;
}

/** What a CA issues, but for release leaves. */
const LEAVES = ['codesign', 'boot', 'manifest'] as const;

class Rotation {
  readonly #directory: string;
  readonly #keys: Keys;
  readonly #kinds: ReadonlySet<SuccessionKind>;
  readonly #options: RotateOptions;
  readonly #draft: KeyFolderDraft;
  readonly #old: OldKeyFolder;
  /** Milliseconds since 1970, whole seconds. */
  readonly #issued: number;
  readonly #steps: Replaced[] = [];
  readonly #warnings: string[] = [];

  constructor(
    directory: string,
    keys: Keys,
    kinds: ReadonlySet<SuccessionKind>,
    options: RotateOptions,
    draft: KeyFolderDraft,
  ) {
    this.#directory = directory;
    this.#keys = keys;
    this.#kinds = kinds;
    this.#options = options;
    this.#draft = draft;
    this.#old = new OldKeyFolder(directory, draft);
    this.#issued = Math.floor(options.now / 1000) * 1000;
  }

  async run(): Promise<Rotated> {
    const issuer = await this.#authority();
    for (const leaf of LEAVES) {
      if (!this.#kinds.has(leaf)) await this.#old.keep(leaf);
      else if (leaf === 'boot') await this.#certified('boot', this.#keys.boot.certificate, issuer);
      else await this.#ownLeaf(leaf, issuer);
    }
    for (const name of OPENPGP_KEY_NAMES) {
      if (this.#kinds.has(name)) await this.#openpgp(name);
      else await this.#keepOpenpgp(name);
    }
    if (this.#kinds.has('snapshot')) await this.#snapshot();
    else if (await this.#old.hasKey('snapshot')) await this.#old.keep('snapshot');
    await this.#old.keepSecureBoot();
    await this.#record();
    const newTrust = this.#kinds.has('ca') && this.#newTrust;
    return { steps: this.#steps, warnings: this.#warnings, newTrust };
  }

  /** Who issues the leaves from now on. */
  async #authority(): Promise<CertifiedKey> {
    const { ca, above } = this.#keys;
    const [root] = above;
    if (!root) {
      if (this.#kinds.has('root'))
        throw new UsageError(`${this.#directory} has no root above its CA; rotate the CA: --only ca.`);
      if (this.#kinds.has('ca')) return this.#certified('ca', ca.certificate, undefined);
      await this.#old.keep('ca');
      return ca;
    }
    if (above.length > 1 && this.#kinds.has('ca'))
      throw new UsageError(`${this.#directory} has a CA under several others; have them issue the new one.`);
    if (!this.#kinds.has('ca')) {
      await this.#old.keepKey('ca');
      if (await this.#old.hasKey('root')) await this.#old.keepKey('root');
      for (const name of ['ca.crt', ISSUING_CA]) await this.#old.keepAnchor(name);
      return ca;
    }
    if (!this.#kinds.has('root') && !(await this.#old.hasKey('root')))
      throw new UsageError(
        `A new CA is issued by the root, whose key is not in ${this.#directory}: put private/root.key there for this command.`,
      );
    const issuer = this.#kinds.has('root')
      ? await this.#certified('root', root, undefined, NOTHING, 'ca.crt')
      : await this.#keepRoot(root);
    return this.#certified('ca', ca.certificate, issuer, NOTHING, ISSUING_CA);
  }

  async #keepRoot(root: Certificate): Promise<CertifiedKey> {
    const path = await demandPrivate(this.#directory, 'private/root.key', 0o600);
    const privateKey = await readPrivateKeyFile(path, accessOf(this.#options));
    if (!fits(root, privateKey))
      throw new Refusal('unsafe-keys', `${path} is not the key of anchors/ca.crt.`, { path });
    await this.#old.keepKey('root');
    await this.#old.keepAnchor('ca.crt');
    return { certificate: root, privateKey };
  }

  /** Issues the successor of a certificate and writes its key; its anchors are itself alone. */
  async #certified(
    kind: CertifiedKind,
    old: Certificate,
    issuer: CertifiedKey | undefined,
    beside: Beside = NOTHING,
    file = `${kind}.crt`,
  ): Promise<CertifiedKey> {
    const { rsaBits, onStep, makeKeyPair = newKeyPair } = this.#options;
    onStep?.(`${kind} key`);
    const profile = readProfile(kind satisfies ProfileName);
    const type = this.#keys.ca.privateKey.asymmetricKeyType === 'rsa' ? 'rsa' : 'p256';
    const pair = await makeKeyPair(type, rsaBits ?? profile.rsa_bits);
    const wanted = this.#issued + profile.days * DAY;
    const notAfter = Math.min(wanted, issuer?.certificate.notAfter ?? wanted);
    if (notAfter < wanted) {
      this.#warnings.push(
        `The ${kind} certificate ends with its CA, on ${day(notAfter)}: replace the CA as well (--only ca).`,
      );
    }
    const raw = issueCertificate({
      profile,
      commonName: kind === 'ca' || kind === 'root' ? nextName(old.commonName) : old.commonName,
      publicKey: pair.publicKey,
      notBefore: this.#issued - DAY,
      notAfter,
      serial: randomBytes(16),
      issuerKey: issuer?.privateKey ?? pair.privateKey,
      ...(issuer ? { issuer: issuer.certificate } : {}),
    });
    const certificate = decodeCertificate(raw);
    await this.#draft.secret(
      `${kind}.key`,
      Buffer.from(pair.privateKey.export({ format: 'pem', type: 'pkcs8' })),
    );
    await this.#draft.anchor(file, pem([certificate, ...beside.overlap]));
    await this.#draft.laterAnchor(file, pem([certificate, ...beside.later]));
    const { notBefore: begins } = certificate;
    this.#steps.push({ kind, from: fingerprint(old), to: fingerprint(certificate), begins, ends: notAfter });
    return { certificate, privateKey: pair.privateKey };
  }

  /** `openssl cms -verify -nointern -certfile` takes the seals of every certificate in the file. */
  async #ownLeaf(kind: 'codesign' | 'manifest', issuer: CertifiedKey): Promise<void> {
    const old = this.#keys[kind].certificate;
    const alone = this.#kinds.has('ca') && this.#newTrust;
    const held = alone ? [] : await readCertificatesFile(await this.#old.lasting(`${kind}.crt`));
    // One that has ended vouches for nothing, and is no reason to carry it on.
    const overlap = held.filter(({ notAfter }) => notAfter > this.#options.now);
    const later = overlap.filter((certificate) => fingerprint(certificate) !== fingerprint(old));
    await this.#certified(kind, old, issuer, { overlap, later });
  }

  /** Whether loaders trust another certificate from now on: a CA under a root that stays is no matter of theirs. */
  get #newTrust(): boolean {
    return this.#keys.above.length === 0 || this.#kinds.has('root');
  }

  async #snapshot(): Promise<void> {
    const { certificate } = await readSnapshotKey(this.#directory);
    await this.#certified('snapshot', certificate, undefined, { overlap: [certificate], later: [] });
  }

  async #openpgp(name: OpenpgpKeyName): Promise<void> {
    const { rsaBits, onStep, makeKeyPair = newKeyPair } = this.#options;
    const purpose = OPENPGP_KEYS[name];
    const { key: old } = this.#keys.openpgp[purpose];
    onStep?.(`${name} key`);
    const pair = await makeKeyPair('rsa', rsaBits ?? OPENPGP_BITS[purpose]);
    const made = await newOpenpgpKey(this.#site(), purpose, pair, this.#issued - DAY);
    const held = await wholeFile(await this.#old.lasting(KEYRINGS[purpose]));
    const others = keyring(KEYRINGS[purpose], held).filter(
      ({ fingerprint }) => fingerprint !== old.fingerprint,
    );
    const [own] = keyring(KEYRINGS[purpose], made.publicKeyring);
    if (!own) throw new RangeError('an OpenPGP key without packets');
    await this.#draft.secret(`${name}.asc`, Buffer.from(made.secret));
    // GRUB reads every key of the file it was given, and old-format headers alone.
    await this.#keyrings(
      purpose,
      Buffer.concat([made.publicKeyring, oldFormat(held)]),
      Buffer.concat([made.publicKeyring, ...others.map(({ bytes }) => bytes)]),
    );
    const step = { from: old.fingerprint, to: own.fingerprint, begins: own.created, ends: undefined };
    this.#steps.push({ kind: name, ...step });
  }

  async #keepOpenpgp(name: OpenpgpKeyName): Promise<void> {
    const purpose = OPENPGP_KEYS[name];
    await this.#draft.secret(`${name}.asc`, await this.#old.read('private', `${name}.asc`));
    await this.#keyrings(
      purpose,
      await this.#old.read('anchors', KEYRINGS[purpose]),
      await wholeFile(await this.#old.lasting(KEYRINGS[purpose])),
    );
  }

  async #keyrings(purpose: OpenpgpPurpose, overlap: Uint8Array, later: Uint8Array): Promise<void> {
    await this.#draft.anchor(KEYRINGS[purpose], overlap);
    await this.#draft.laterAnchor(KEYRINGS[purpose], later);
    if (purpose !== 'payload') return;
    const armored = (bytes: Uint8Array) => Buffer.from(encodeArmor('PUBLIC KEY BLOCK', bytes));
    await this.#draft.anchor('pubkey.asc', armored(overlap));
    await this.#draft.laterAnchor('pubkey.asc', armored(later));
  }

  /** Who follows whom, on the word of the old keys of records: whoever trusted them may go on from there. */
  async #record(): Promise<void> {
    const { manifest, openpgp } = this.#keys;
    const kinds = SUCCESSION_KINDS;
    const steps = this.#steps
      .map(({ kind, from, to }) => ({ kind, from, to }))
      .sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
    const bytes = encodeSuccessors({ issued: this.#issued, steps });
    await this.#draft.anchor(SUCCESSORS, bytes);
    const { notAfter } = manifest.certificate;
    if (notAfter > this.#options.now) {
      const seal = await sealRecord(bytes, certifiedSigner('manifest', manifest), betweenOf(this.#chain()));
      await this.#draft.anchor(SUCCESSORS + SEAL.cms, seal);
    } else {
      this.#warnings.push(
        `${SUCCESSORS}${SEAL.cms} was left out: the old manifest certificate ended on ${day(notAfter)}.`,
      );
    }
    const signer = openpgpSigner('openpgp-manifest', openpgp.manifest);
    await this.#draft.anchor(SUCCESSORS + SEAL.openpgp, await sealRecordOpenpgp(bytes, signer, this.#issued));
  }

  #chain() {
    return { ca: this.#keys.ca.certificate, above: this.#keys.above };
  }

  #site(): string {
    const { commonName } = this.#keys.boot.certificate;
    const [before = ''] = readProfile('boot').common_name.split('{site}');
    return commonName.startsWith(before) ? commonName.slice(before.length) : commonName;
  }
}

/** Certificates that stand in a file with a new one. */
interface Beside {
  readonly overlap: readonly Certificate[];
  readonly later: readonly Certificate[];
}

type CertifiedKind = 'root' | 'ca' | (typeof LEAVES)[number] | 'snapshot';

const NOTHING: Beside = { overlap: [], later: [] };

function keyring(
  name: string,
  bytes: Uint8Array,
): { fingerprint: string; created: number; bytes: Uint8Array }[] {
  try {
    return splitTransferableKeys(bytes, MAX_PACKETS).map((parts) => {
      const { fingerprint, created } = decodeOpenpgpKey(parts[0].packet.body);
      return { fingerprint, created, bytes: encodeTransferableKey(parts) };
    });
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `${name} is no keyring: ${error.message}.`, { path: name });
  }
}

/**
 * Two CAs of one name would leave it to chance which of them a loader takes for the issuer. A common name has at
 * most 64 characters (RFC 5280, ub-common-name).
 */
function nextName(name: string): string {
  const [, stem = name, count = '1'] = /^(.*) (\d{1,6})$/.exec(name) ?? [];
  const suffix = ` ${Number(count) + 1}`;
  return stem.slice(0, 64 - suffix.length) + suffix;
}

function pem(certificates: readonly Certificate[]): Uint8Array {
  return Buffer.from(certificates.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''));
}

function fingerprint({ raw }: Certificate): string {
  return createHash('sha256').update(raw).digest('hex');
}

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
