import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { isThere, readIfThere } from '../files/read-if-there.ts';
import { readWhole } from '../files/reading.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import type { KeyAccess } from '../signing/keys/passphrase.ts';
import { SUCCESSORS } from '../signing/keys/rotate.ts';
import { readLoaderSealingKeys, readSealingKeys } from '../signing/keys/sealing-keys.ts';
import type { OtherSealingCa } from '../signing/sealer.ts';
import { type SealingKeys, trustedOf } from '../signing/signatories.ts';
import { anchorId } from '../trust/anchors.ts';
import { fingerprint, nameOf } from '../trust/chain.ts';
import { demandNotRevoked } from '../trust/policy.ts';
import type { StandingSigners } from '../trust/record-signers.ts';
import {
  findSuccession,
  type Predecessor,
  type SuccessionStep,
  type SuccessorMap,
} from '../trust/succession.ts';
import { demandWithin } from '../trust/validity.ts';
import { pooled, type Trusted } from './standing.ts';

/** Who signs anew, and on whose word they may. */
export interface ResignKeys {
  readonly keys: SealingKeys;
  readonly others: readonly OtherSealingCa[];
  readonly maps: readonly SuccessorMap[];
}

/**
 * Reads key folders and maps. Certificates that have ended are read all the same: each release is to say so
 * itself.
 *
 * @param successors files of successors; default: the one among the folder's anchors, where it has one.
 */
export async function readResignKeys(
  folder: string,
  alsoKeys: readonly string[],
  successors: readonly string[] | undefined,
  now: number,
  access: KeyAccess = {},
): Promise<ResignKeys> {
  const keys = await readSealingKeys(folder, undefined, undefined, access);
  const others: OtherSealingCa[] = [];
  for (const path of alsoKeys) {
    const other = await readLoaderSealingKeys(path, now, access);
    others.push({ id: anchorId(trustedOf(other)), keys: other });
  }
  const own = join(folder, 'anchors', SUCCESSORS);
  const paths = successors ?? ((await isThere(own)) ? [own] : []);
  const maps: SuccessorMap[] = [];
  for (const path of paths) maps.push(await readMap(path));
  return { keys, others, maps };
}

async function readMap(path: string): Promise<SuccessorMap> {
  const bytes = await readWhole(path);
  const seal = (suffix: string) => readIfThere(path + suffix);
  return { name: path, bytes, cms: await seal(SEAL.cms), openpgp: await seal(SEAL.openpgp) };
}

export function mapDigest(maps: readonly SuccessorMap[], name: string): string {
  const bytes = maps.find((map) => map.name === name)?.bytes ?? new Uint8Array();
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Whether the keys at hand may take the place of those that sealed a release: they are the very same, or follow
 * them on the old keys' own word; and they are good for signing now.
 *
 * @returns the steps from old to new; none where the keys are the same.
 * @throws Refusal `absent`, `expired`, `not-yet-valid`, `revoked`.
 */
export async function demandSuccession(
  old: StandingSigners,
  { keys, others, maps }: ResignKeys,
  trusted: Trusted,
): Promise<readonly SuccessionStep[]> {
  const { policy, now } = trusted;
  const trust = { anchors: pooled(trusted, undefined), policy, now };
  const pairs: Predecessor[] = [
    pair(keys.above.length > 0 ? 'root' : 'ca', old.ca, trustedOf(keys), old.ca),
    pair('manifest', old.manifest, keys.manifest.certificate),
    pair('boot', old.boot, keys.boot.certificate, old.ca),
    ...(['manifest', 'script'] as const).flatMap((purpose) =>
      old.openpgp[purpose].map(
        (from): Predecessor => ({
          kind: `openpgp-${purpose}`,
          from,
          to: keys.openpgp[purpose].key.fingerprint,
        }),
      ),
    ),
  ];
  for (const [id, boot] of old.others) {
    const other = others.find((candidate) => candidate.id === id);
    if (!other) {
      throw new Refusal(
        'absent',
        `It is sealed for the loaders of another CA (${id}) too, whose keys are not at hand: give them with --also-keys.`,
        { ca: id },
      );
    }
    pairs.push(pair('boot', boot, other.keys.boot.certificate, trustedOf(other.keys)));
  }
  const steps: SuccessionStep[] = [];
  for (const one of pairs) steps.push(...(await findSuccession(one, maps, trust)));
  demandFit(keys, trusted);
  for (const other of others) demandFit(other.keys, trusted);
  return steps;
}

/** Nobody would take what a key signs that has ended or was struck off. */
export function demandFit(keys: Partial<SealingKeys>, { policy, now }: Trusted): void {
  for (const name of ['ca', 'boot', 'manifest'] as const) {
    const certificate = keys[name]?.certificate;
    if (!certificate) continue;
    demandWithin(nameOf(certificate), certificate.notBefore, certificate.notAfter, now);
    demandNotRevoked(policy, nameOf(certificate), fingerprint(certificate));
  }
  for (const purpose of ['manifest', 'script'] as const) {
    const key = keys.openpgp?.[purpose].key;
    if (key) demandNotRevoked(policy, `The key ${key.keyId}`, key.fingerprint);
  }
}

function pair(
  kind: 'root' | 'ca' | 'manifest' | 'boot',
  old: Certificate,
  now: Certificate,
  ca?: Certificate,
): Predecessor {
  return { kind, from: fingerprint(old), to: fingerprint(now), ca };
}

/** Fingerprints of all who sign, for a record. */
export function signerNames({ keys }: ResignKeys): string[] {
  const { manifest, boot, openpgp } = keys;
  const certificates = [manifest, boot].map(({ certificate }) => fingerprint(certificate));
  return [...certificates, openpgp.manifest.key.fingerprint, openpgp.script.key.fingerprint];
}
