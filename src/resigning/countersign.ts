import { Refusal } from '../errors/refusal.ts';
import { encodeCountersignature } from '../formats/records/countersignature.ts';
import { sealRecord, sealRecordOpenpgp } from '../signing/seal-record.ts';
import { betweenOf, trustedOf } from '../signing/signatories.ts';
import { addCountersignature, readCountersignatures } from '../store/provenance.ts';
import { fingerprint } from '../trust/chain.ts';
import { type SealedCountersignature, verifyCountersignature } from '../trust/countersignature-check.ts';
import { signerFingerprints } from '../trust/record-signers.ts';
import { demandFit } from './keys.ts';
import { SignerGone } from './rework.ts';
import { pooled, type Standing } from './standing.ts';
import { type Batch, bringBack, log, type Outcome, type Stored } from './stored.ts';

/** Somebody else's seals stay as they came. Ours stand beside them, and name them. */
export async function countersign(batch: Batch, stored: Stored, standing: Standing): Promise<Outcome> {
  const { state, trusted, resignKeys, change, signing } = batch;
  const { release, mark, origin } = stored;
  const { manifest, openpgp, ca } = resignKeys.keys;
  const { key } = openpgp.manifest;
  demandFit({ ca, manifest, openpgp }, trusted);
  const asked = [change.release, change.cmdline, change.moduleCmdline, change.url].some(
    (one) => one !== undefined,
  );
  const note = asked ? 'it was fetched, so its records stay as they came' : undefined;
  const original = { release, manifestSha256: standing.manifestSha256 };
  for (const one of await readCountersignatures(state, release)) {
    if (!(await isOurs(batch, one, original))) continue;
    if (mark && signing) await bringBack(batch, stored, standing);
    return { outcome: 'kept', note };
  }
  if (!signing) return { outcome: 'countersigned', note };
  const bytes = encodeCountersignature({
    time: change.issued,
    release,
    manifest: standing.manifestSha256,
    origin: origin.origin,
    originalSigners: signerFingerprints(standing.signers),
  });
  const sealed = await sealBoth(bytes, batch);
  if (!(await isOurs(batch, sealed, original)))
    throw new Refusal('no-verdict', `The countersignature of ${release} would not be taken.`, { release });
  if (mark && !mark.held) await bringBack(batch, stored, standing);
  await log(batch, {
    act: 'resign',
    release,
    manifest: standing.manifestSha256,
    serial: standing.manifest.serial,
    signers: [fingerprint(manifest.certificate), key.fingerprint],
    origin: origin.origin,
  });
  const name = `${standing.manifestSha256.slice(0, 16)}-${fingerprint(manifest.certificate).slice(0, 16)}-${key.keyId}`;
  await addCountersignature(state, release, name, sealed);
  if (mark?.held) await bringBack(batch, stored, standing);
  return { outcome: 'countersigned', note };
}

async function sealBoth(bytes: Uint8Array, { resignKeys, change }: Batch): Promise<SealedCountersignature> {
  const { manifest, openpgp, ca, above } = resignKeys.keys;
  try {
    return {
      bytes,
      cms: await sealRecord(bytes, manifest, betweenOf({ ca: ca.certificate, above })),
      openpgp: await sealRecordOpenpgp(bytes, openpgp.manifest, change.issued),
    };
  } catch (error) {
    throw error instanceof Refusal ? new SignerGone(error) : error;
  }
}

async function isOurs(
  { trusted, resignKeys }: Batch,
  sealed: SealedCountersignature,
  original: { readonly release: string; readonly manifestSha256: string },
): Promise<boolean> {
  const { manifest, openpgp } = resignKeys.keys;
  const ours = {
    ca: [trustedOf(resignKeys.keys)],
    manifest: [manifest.certificate],
    openpgp: {
      manifest: pooled(trusted, undefined).openpgp.manifest.filter(({ keys }) =>
        keys.some(({ key }) => key.fingerprint === openpgp.manifest.key.fingerprint),
      ),
    },
  };
  try {
    await verifyCountersignature(sealed, original, ours, trusted.policy, trusted.now);
    return true;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}
