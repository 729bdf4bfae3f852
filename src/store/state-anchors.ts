import { Refusal } from '../errors/refusal.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeCertificates } from '../trust/anchors.ts';
import { recordsOf } from './folder-backend.ts';

/**
 * `anchors/snapshot.crt` of a state: the certificates of the snapshot keys that its readers are told of, PEM. It is public,
 * so a folder and a bucket both hold it.
 */

export const SNAPSHOT_ANCHORS = 'anchors/snapshot.crt';

/**
 * Certificates of the keys that sign a state's channels and log; none where nobody was told of one yet.
 *
 * @throws Refusal `malformed`; IoError.
 */
export async function readSnapshotAnchors(state: string): Promise<Certificate[]> {
  const record = await recordsOf(state).get(SNAPSHOT_ANCHORS);
  return record ? decodeCertificates(snapshotAnchorsName(state), record.bytes) : [];
}

/** The same, for who cannot do without. Throws `absent`, too. */
export async function demandSnapshotAnchors(state: string): Promise<[Certificate, ...Certificate[]]> {
  const [first, ...rest] = await readSnapshotAnchors(state);
  if (first) return [first, ...rest];
  const path = snapshotAnchorsName(state);
  throw new Refusal('absent', `${path} does not exist.`, { path });
}

/** Tells readers of a state which keys sign for it from now on. Whoever calls may write to the state. Throws an IoError. */
export async function writeSnapshotAnchors(state: string, pem: string): Promise<void> {
  await recordsOf(state).put(SNAPSHOT_ANCHORS, Buffer.from(pem));
}

/** Where it lies, for messages. */
export function snapshotAnchorsName(state: string): string {
  return `${state.replace(/\/+$/, '')}/${SNAPSHOT_ANCHORS}`;
}
