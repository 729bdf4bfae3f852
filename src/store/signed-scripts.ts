import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { scriptFile } from '../formats/records/script-batch.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import type { StoreBackend } from './backend.ts';

/**
 * Scripts that belong to no release, by their content: `scripts/<sha256>.ipxe` or `.cfg`, each with its seal. They are never
 * changed; which of them counts is said elsewhere.
 */

/** A script and the seal that was made of these very bytes. */
export interface SignedScript {
  readonly bytes: Uint8Array;
  /** CMS for iPXE, OpenPGP for GRUB. */
  readonly seal: Uint8Array;
}

/** What reads it. */
export type ScriptKind = 'ipxe' | 'grub';

/** Stores a script: its seal first, so that none is ever there without. @returns its SHA-256, lower-case hex. */
export async function keepScript(
  records: StoreBackend,
  kind: ScriptKind,
  { bytes, seal }: SignedScript,
): Promise<string> {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const key = scriptFile({ loader: kind, sha256 });
  await records.putIfAbsent(key + SEAL.openpgp, seal);
  await records.putIfAbsent(key, bytes);
  return sha256;
}

/**
 * A script by its SHA-256, and its seal, which nobody has verified here.
 *
 * @throws Refusal `absent` where it is not there, `drifted` where it is another; IoError.
 */
export async function readScript(
  records: StoreBackend,
  kind: ScriptKind,
  sha256: string,
): Promise<SignedScript> {
  const key = scriptFile({ loader: kind, sha256 });
  const script = await records.get(key);
  const seal = script && (await records.get(key + SEAL.openpgp));
  if (!script || !seal)
    throw new Refusal('absent', `${script ? key + SEAL.openpgp : key} is missing.`, { path: key });
  if (createHash('sha256').update(script.bytes).digest('hex') !== sha256)
    throw new Refusal('drifted', `${key} is not the script of that name: it was changed.`, { path: key });
  return { bytes: script.bytes, seal: seal.bytes };
}
