import { recordsOf } from './folder-backend.ts';
import { provenanceKey } from './provenance.ts';

/*
 * Signatures of people over the manifest of a release, beside the build's own: OpenPGP, detached,
 * `provenance/NAME/VERSION/promotions/<sha256 of the manifest>/<fingerprint>.sig`. They belong to that manifest and to no
 * other that the release may get. None is removed, but one that counts no more makes room for the same person's next.
 */

const MOST = 64;

/** Keeps one, in the place of the same person's last. @param person a fingerprint, lower-case hex. */
export async function keepPromotion(
  state: string,
  release: string,
  manifest: string,
  person: string,
  seal: Uint8Array,
): Promise<void> {
  await recordsOf(state).put(keyOf(release, manifest, `${person}.sig`), seal);
}

/** All that are kept for a manifest, unverified. */
export async function readPromotions(
  state: string,
  release: string,
  manifest: string,
): Promise<Uint8Array[]> {
  const records = recordsOf(state);
  const names = await records.list(keyOf(release, manifest));
  const found: Uint8Array[] = [];
  for (const name of names.filter((one) => /^[0-9a-f]{40,64}\.sig$/.test(one)).slice(0, MOST)) {
    const record = await records.get(keyOf(release, manifest, name));
    if (record) found.push(record.bytes);
  }
  return found;
}

function keyOf(release: string, manifest: string, ...name: string[]): string {
  return provenanceKey(release, 'promotions', manifest, ...name);
}
