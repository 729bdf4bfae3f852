import { readBeneath } from '../files/beneath.ts';
import { logAct } from '../publish/log-act.ts';
import type { Sealed } from '../signing/sealer.ts';
import { openState } from '../store/state.ts';

/** Bytes; no record or seal is longer. */
const MAX_SEAL = 1024 * 1024;

/**
 * Puts a sealing into the log of a state folder: from then on a proof can say since when this release is as it is.
 * Throws a `Refusal` or an `IoError`; the tree is sealed either way.
 *
 * @param now milliseconds since 1970.
 */
export async function logSeal(folder: string, tree: string, sealed: Sealed, now: number): Promise<void> {
  const { manifest, manifestSha256, files } = sealed;
  const payload = new Set(manifest.files.map(({ path }) => path));
  const seals = new Map<string, Uint8Array>();
  for (const { path } of files)
    if (!payload.has(path)) seals.set(path, (await readBeneath(tree, path, MAX_SEAL)).bytes);
  const { release, serial } = manifest;
  const state = await openState(folder);
  try {
    await logAct(folder, { time: now, act: 'seal', release, manifest: manifestSha256, serial, seals });
  } finally {
    await state.release();
  }
}
