import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { isThere, namesIfThere } from '../../files/read-if-there.ts';
import { readWhole } from '../../files/reading.ts';
import { encodeArmor, encodePem } from '../../formats/asn1/armor.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { decodeOpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { encodeTransferableKey, splitTransferableKeys } from '../../formats/openpgp/openpgp-transferable.ts';
import { SEAL } from '../../formats/records/seal-names.ts';
import { encodeSuccessors, type Succession, type SuccessionKind } from '../../formats/records/successors.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { sealRecord, sealRecordOpenpgp } from '../seal-record.ts';
import { certifiedSigner, openpgpSigner } from '../signatories.ts';
import { issueCertificate } from './certificate.ts';
import { writeKeyFolder } from './init.ts';
import { type CertifiedKey, type Keys, readKeyFolder } from './key-folder.ts';
import { ENROLMENT, type KeyFolderDraft, LATER_ANCHORS } from './key-folder-draft.ts';
import { newKeyPair } from './key-pair.ts';
import { newOpenpgpKey, oldFormat } from './openpgp-keys.ts';
import { type ProfileName, readProfile } from './profiles.ts';
import { readSnapshotKey } from './snapshot-key.ts';

const DAY = 86_400_000;
const MAX_PACKETS = 10_000;

/** The record of who follows whom, beside the anchors, with a seal by the old codesign and OpenPGP key each. */
export const SUCCESSORS = 'successors';

/** What is replaced unless told: everything that loaders with a built-in CA need not know of. */
export const DEFAULT_ROTATION = ['codesign', 'boot', 'openpgp', 'snapshot'] as const;

export interface RotateOptions {
  readonly only?: readonly SuccessionKind[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Overrides the profiles' RSA modulus lengths. */
  readonly rsaBits?: number;
  readonly onStep?: (what: string) => void;
}

export interface Replaced extends Succession {
  /** Milliseconds since 1970, of the new one; an OpenPGP key has no end. */
  readonly begins: number;
  readonly ends: number | undefined;
}

export interface Rotated {
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
 * @throws Refusal, IoError; nothing is written then.
 */
export async function rotateKeyFolder(
  directory: string,
  out: string,
  options: RotateOptions,
): Promise<Rotated> {
  const kinds = new Set<SuccessionKind>(options.only ?? DEFAULT_ROTATION);
  if (kinds.has('ca')) for (const leaf of ['codesign', 'boot'] as const) kinds.add(leaf);
  const keys = await readKeyFolder(directory, options.now, kinds);
  let rotated: Rotated | undefined;
  await writeKeyFolder(out, async (draft) => {
    rotated = await new Rotation(directory, keys, kinds, options, draft).run();
  });
  if (!rotated) throw new RangeError('nothing was written');
  return rotated;
}

class Rotation {
  readonly #directory: string;
  readonly #keys: Keys;
  readonly #kinds: ReadonlySet<SuccessionKind>;
  readonly #options: RotateOptions;
  readonly #draft: KeyFolderDraft;
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
    this.#issued = Math.floor(options.now / 1000) * 1000;
  }

  async run(): Promise<Rotated> {
    const { ca, codesign, boot } = this.#keys;
    const issuer = this.#kinds.has('ca') ? await this.#certified('ca', ca.certificate, undefined) : ca;
    if (!this.#kinds.has('ca')) await this.#keep('ca');
    if (this.#kinds.has('codesign')) await this.#codesign(codesign.certificate, issuer);
    else await this.#keep('codesign');
    if (this.#kinds.has('boot')) await this.#certified('boot', boot.certificate, issuer);
    else await this.#keep('boot');
    if (this.#kinds.has('openpgp')) await this.#openpgp();
    else await this.#keepOpenpgp();
    if (this.#kinds.has('snapshot')) await this.#snapshot();
    else if (await isThere(join(this.#directory, 'private', 'snapshot.key'))) await this.#keep('snapshot');
    await this.#keepSecureBoot();
    await this.#record();
    return { steps: this.#steps, warnings: this.#warnings };
  }

  /** Issues the successor of a certificate and writes its key; its anchors are itself alone. */
  async #certified(
    kind: Exclude<SuccessionKind, 'openpgp'>,
    old: Certificate,
    issuer: CertifiedKey | undefined,
    beside: Beside = { overlap: [], later: [] },
  ): Promise<CertifiedKey> {
    const { rsaBits, onStep } = this.#options;
    onStep?.(`${kind} key`);
    const profile = readProfile(kind satisfies ProfileName);
    const type = this.#keys.ca.privateKey.asymmetricKeyType === 'rsa' ? 'rsa' : 'p256';
    const pair = await newKeyPair(type, rsaBits ?? profile.rsa_bits);
    const wanted = this.#issued + profile.days * DAY;
    const notAfter = Math.min(wanted, issuer?.certificate.notAfter ?? wanted);
    if (notAfter < wanted) {
      this.#warnings.push(
        `The ${kind} certificate ends with its CA, on ${day(notAfter)}: replace the CA as well (--only ca).`,
      );
    }
    const raw = issueCertificate({
      profile,
      commonName: kind === 'ca' ? nextName(old.commonName) : old.commonName,
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
    await this.#draft.anchor(`${kind}.crt`, pem([certificate, ...beside.overlap]));
    await this.#draft.laterAnchor(`${kind}.crt`, pem([certificate, ...beside.later]));
    const { notBefore: begins } = certificate;
    this.#steps.push({ kind, from: fingerprint(old), to: fingerprint(certificate), begins, ends: notAfter });
    return { certificate, privateKey: pair.privateKey };
  }

  /** `openssl cms -verify -nointern -certfile` takes the seals of every certificate in the file. */
  async #codesign(old: Certificate, issuer: CertifiedKey): Promise<void> {
    const held = this.#kinds.has('ca') ? [] : await readCertificatesFile(await this.#lasting('codesign.crt'));
    // One that has ended vouches for nothing, and is no reason to carry it on.
    const overlap = held.filter(({ notAfter }) => notAfter > this.#options.now);
    const later = overlap.filter((certificate) => fingerprint(certificate) !== fingerprint(old));
    await this.#certified('codesign', old, issuer, { overlap, later });
  }

  async #snapshot(): Promise<void> {
    const { certificate } = await readSnapshotKey(this.#directory);
    await this.#certified('snapshot', certificate, undefined, { overlap: [certificate], later: [] });
  }

  async #openpgp(): Promise<void> {
    const { rsaBits, onStep } = this.#options;
    const { key: old } = this.#keys.openpgp;
    onStep?.('OpenPGP key');
    const made = await newOpenpgpKey(this.#site(), rsaBits ?? 4096, this.#issued - DAY);
    const held = await readWhole(await this.#lasting('pubring.gpg'));
    const others = keyring(held).filter(({ fingerprint }) => fingerprint !== old.fingerprint);
    const [own] = keyring(made.publicKeyring);
    if (!own) throw new RangeError('an OpenPGP key without packets');
    await this.#draft.secret('openpgp.asc', Buffer.from(made.secret));
    // GRUB reads every key of the file it was given, and old-format headers alone.
    await this.#keyrings(
      Buffer.concat([made.publicKeyring, oldFormat(held)]),
      Buffer.concat([made.publicKeyring, ...others.map(({ bytes }) => bytes)]),
    );
    const step = { from: old.fingerprint, to: own.fingerprint, begins: own.created, ends: undefined };
    this.#steps.push({ kind: 'openpgp', ...step });
  }

  async #keepOpenpgp(): Promise<void> {
    await this.#draft.secret('openpgp.asc', await this.#read('private', 'openpgp.asc'));
    await this.#keyrings(
      await this.#read('anchors', 'pubring.gpg'),
      await readWhole(await this.#lasting('pubring.gpg')),
    );
  }

  async #keyrings(overlap: Uint8Array, later: Uint8Array): Promise<void> {
    const armored = (bytes: Uint8Array) => Buffer.from(encodeArmor('PUBLIC KEY BLOCK', bytes));
    await this.#draft.anchor('pubring.gpg', overlap);
    await this.#draft.anchor('pubkey.asc', armored(overlap));
    await this.#draft.laterAnchor('pubring.gpg', later);
    await this.#draft.laterAnchor('pubkey.asc', armored(later));
  }

  async #keep(kind: string): Promise<void> {
    await this.#draft.secret(`${kind}.key`, await this.#read('private', `${kind}.key`));
    await this.#draft.anchor(`${kind}.crt`, await this.#read('anchors', `${kind}.crt`));
    await this.#draft.laterAnchor(`${kind}.crt`, await readWhole(await this.#lasting(`${kind}.crt`)));
  }

  /** What machines have enrolled stays theirs: nobody but their owner at the console can give them another. */
  async #keepSecureBoot(): Promise<void> {
    for (const name of ['PK', 'KEK', 'db']) {
      if (!(await isThere(join(this.#directory, 'anchors', `${name}.crt`)))) continue;
      await this.#draft.anchor(`${name}.crt`, await this.#read('anchors', `${name}.crt`));
      await this.#draft.laterAnchor(`${name}.crt`, await this.#read('anchors', `${name}.crt`));
      if (await isThere(join(this.#directory, 'private', `${name}.key`)))
        await this.#draft.secret(`${name}.key`, await this.#read('private', `${name}.key`));
    }
    if (await isThere(join(this.#directory, 'anchors', 'dbx.esl')))
      await this.#draft.anchor('dbx.esl', await this.#read('anchors', 'dbx.esl'));
    if (await isThere(join(this.#directory, 'anchors', 'pcr.pub'))) {
      await this.#draft.anchor('pcr.pub', await this.#read('anchors', 'pcr.pub'));
      if (await isThere(join(this.#directory, 'private', 'pcr.key')))
        await this.#draft.secret('pcr.key', await this.#read('private', 'pcr.key'));
    }
    for (const name of await namesIfThere(join(this.#directory, ENROLMENT)))
      await this.#draft.enrolment(name, await this.#read(ENROLMENT, name));
  }

  /** Who follows whom, on the word of the old keys: whoever trusted them may go on from there. */
  async #record(): Promise<void> {
    const { codesign, openpgp } = this.#keys;
    const steps = this.#steps.map(({ kind, from, to }) => ({ kind, from, to }));
    const bytes = encodeSuccessors({ issued: this.#issued, steps });
    await this.#draft.anchor(SUCCESSORS, bytes);
    const { notAfter } = codesign.certificate;
    if (notAfter > this.#options.now) {
      const seal = await sealRecord(bytes, certifiedSigner('codesign', codesign));
      await this.#draft.anchor(SUCCESSORS + SEAL.cms, seal);
    } else {
      this.#warnings.push(
        `${SUCCESSORS}${SEAL.cms} was left out: the old codesign certificate ended on ${day(notAfter)}.`,
      );
    }
    const seal = await sealRecordOpenpgp(bytes, openpgpSigner(openpgp), this.#issued);
    await this.#draft.anchor(SUCCESSORS + SEAL.openpgp, seal);
  }

  /** Of what an earlier rotation already meant to leave behind, nothing is taken along. */
  async #lasting(name: string): Promise<string> {
    const later = join(this.#directory, LATER_ANCHORS, name);
    return (await isThere(later)) ? later : join(this.#directory, 'anchors', name);
  }

  #read(folder: string, name: string): Promise<Buffer> {
    return readWhole(join(this.#directory, folder, name));
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

function keyring(bytes: Uint8Array): { fingerprint: string; created: number; bytes: Uint8Array }[] {
  try {
    return splitTransferableKeys(bytes, MAX_PACKETS).map((parts) => {
      const { fingerprint, created } = decodeOpenpgpKey(parts[0].packet.body);
      return { fingerprint, created, bytes: encodeTransferableKey(parts) };
    });
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `pubring.gpg is no keyring: ${error.message}.`, { path: 'pubring.gpg' });
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
