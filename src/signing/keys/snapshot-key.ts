import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { writeFileAtomically } from '../../files/atomic-file.ts';
import { makeFolders } from '../../files/make-folders.ts';
import { isThere, lstatIfThere } from '../../files/read-if-there.ts';
import { encodePem } from '../../formats/asn1/armor.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { encodeSnapshot, type Snapshot } from '../../formats/records/snapshot.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { keyMaterial } from '../../trust/key-material.ts';
import { sealRecord } from '../seal-record.ts';
import { certifiedSigner } from '../signatories.ts';
import { issueCertificate } from './certificate.ts';
import { type CertifiedKey, demandPrivate, fits, ownOf } from './key-folder.ts';
import { type MakeKeyPair, newKeyPair } from './key-pair.ts';
import type { KeyAccess } from './passphrase.ts';
import { readPrivateKeyFile } from './private-key-file.ts';
import { readProfile } from './profiles.ts';

const DAY = 86_400_000;

export interface SnapshotKey extends CertifiedKey {
  /** All that stand beside it, its own among them: channels that one of them signed are ours to move. */
  readonly accepted: readonly Certificate[];
}

/**
 * Reads a snapshot key: the folder of `init`, or one of the same shape. It can move a channel between sealed
 * releases and sign nothing that boots, so it may live where the release keys may not.
 *
 * @throws Refusal `unsafe-keys`, `absent`, `wrong-purpose`, `malformed`; IoError for a key that cannot be read; UsageError
 *   for a passphrase that nobody gives.
 */
export async function readSnapshotKey(directory: string, access: KeyAccess = {}): Promise<SnapshotKey> {
  const path = join(directory, 'private', 'snapshot.key');
  // Of a state that somebody else signs for, this is an answer, and its callers know what to make of it.
  if (!(await lstatIfThere(path))) throw new Refusal('absent', `There is no ${path}.`, { path });
  const keyPath = await demandPrivate(directory, 'private/snapshot.key', 0o600);
  const certificatePath = join(directory, 'anchors', 'snapshot.crt');
  const accepted = await readCertificatesFile(certificatePath);
  if (accepted.some(({ extKeyUsage }) => extKeyUsage?.length)) {
    throw new Refusal('wrong-purpose', `${certificatePath} may sign other things than snapshots.`, {
      path: certificatePath,
    });
  }
  await demandNoOther(join(directory, 'anchors'), accepted);
  const privateKey = await readPrivateKeyFile(keyPath, access);
  const certificate = ownOf(accepted, privateKey);
  // Its snapshots would be refused by everybody who holds the certificate.
  if (!fits(certificate, privateKey)) {
    throw new Refusal('unsafe-keys', `${keyPath} is not the key of ${certificatePath}.`, { path: keyPath });
  }
  return { certificate, privateKey, accepted };
}

/** Whoever moves channels would sign what machines start, or be asked for digests that are those of a snapshot. */
async function demandNoOther(anchors: string, snapshot: readonly Certificate[]): Promise<void> {
  const own = new Set(snapshot.map(({ key }) => keyMaterial(key.object)));
  for (const name of ['ca.crt', 'issuing-ca.crt', 'boot.crt', 'codesign.crt', 'manifest.crt', 'db.crt']) {
    const path = join(anchors, name);
    if (!(await isThere(path))) continue;
    if (!(await readCertificatesFile(path)).some(({ key }) => own.has(keyMaterial(key.object)))) continue;
    throw new Refusal(
      'wrong-purpose',
      `snapshot.crt and ${path} hold the same key, and a key has one purpose.`,
      { path },
    );
  }
}

/**
 * Makes a snapshot key below `directory`: `anchors/snapshot.crt`, then `private/snapshot.key`. After a crash in
 * between there is no key, and the next one replaces a certificate that nobody ever signed with.
 */
export async function makeSnapshotKey(
  directory: string,
  site: string,
  now: number,
  rsaBits?: number,
  makeKeyPair: MakeKeyPair = newKeyPair,
): Promise<SnapshotKey> {
  const profile = readProfile('snapshot');
  const { publicKey, privateKey } = await makeKeyPair('rsa', rsaBits ?? profile.rsa_bits);
  const issued = Math.floor(now / 1000) * 1000;
  const raw = issueCertificate({
    profile,
    commonName: profile.common_name.replace('{site}', site),
    publicKey,
    notBefore: issued - DAY,
    notAfter: issued + profile.days * DAY,
    serial: randomBytes(16),
    issuerKey: privateKey,
  });
  await makeFolders(directory);
  await makeFolders(join(directory, 'private'), 0o700);
  await makeFolders(join(directory, 'anchors'));
  await writeFileAtomically(
    join(directory, 'anchors', 'snapshot.crt'),
    Buffer.from(encodePem('CERTIFICATE', raw)),
  );
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
  await writeFileAtomically(join(directory, 'private', 'snapshot.key'), Buffer.from(pem), { mode: 0o600 });
  const certificate = decodeCertificate(raw);
  return { certificate, privateKey, accepted: [certificate] };
}

/** Writes and signs a snapshot: its bytes and their detached CMS, as `.cms.sig` of everything else. */
export async function signSnapshot(
  snapshot: Snapshot,
  key: CertifiedKey,
): Promise<{ bytes: Uint8Array; seal: Uint8Array }> {
  const bytes = encodeSnapshot(snapshot);
  return { bytes, seal: await sealRecord(bytes, certifiedSigner('snapshot', key)) };
}
