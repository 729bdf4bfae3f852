import type { Certificate } from '../formats/asn1/x509.ts';
import { isBucketState } from '../store/s3/location.ts';
import { demandSnapshotAnchors, SNAPSHOT_ANCHORS, snapshotAnchorsName } from '../store/state-anchors.ts';
import { readAnchorFile } from '../trust/anchor-folder.ts';
import { decodeCertificates } from '../trust/anchors.ts';
import type { AnchorFolders } from '../trust/trust-roots.ts';

const NAME = SNAPSHOT_ANCHORS.slice(SNAPSHOT_ANCHORS.lastIndexOf('/') + 1);

/**
 * Whose snapshots a server of a state takes. A folder says so itself: it lies on this machine, and may hold the key. What
 * lies in a bucket was written by whoever may write there, and would vouch for itself: where the operator's own anchors name
 * the key, those count alone.
 *
 * @param warnings told where nobody but the bucket names the key.
 * @throws Refusal `absent`, `malformed`; IoError.
 */
export async function snapshotSigners(
  state: string,
  anchors: AnchorFolders,
  warnings: string[],
): Promise<readonly Certificate[]> {
  if (!isBucketState(state)) return demandSnapshotAnchors(state);
  const own: Certificate[] = [];
  for (const folder of typeof anchors === 'string' ? [anchors] : anchors) {
    const bytes = await readAnchorFile(folder, NAME);
    if (bytes) own.push(...decodeCertificates(`${folder}/${NAME}`, bytes));
  }
  if (own.length > 0) return own;
  warnings.push(
    `nobody but ${snapshotAnchorsName(state)} says whose snapshots count, so whoever writes there can take channels back; put ${NAME} beside the other anchors of this server`,
  );
  return demandSnapshotAnchors(state);
}
