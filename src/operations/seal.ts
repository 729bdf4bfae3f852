import { UsageError } from '../errors/usage.ts';
import { expectMeasuring } from '../files/measure.ts';
import { type Layout, recogniseTree } from '../release/layout.ts';
import { type AskPassphrase, accessOf } from '../signing/keys/passphrase.ts';
import { readLoaderSealingKeys, readSealingKeys } from '../signing/keys/sealing-keys.ts';
import { type SealTermsRequest, sealTerms } from '../signing/seal-terms.ts';
import { type OtherSealingCa, type Sealed, sealTree } from '../signing/sealer.ts';
import { type SealingKeys, trustedOf } from '../signing/signatories.ts';
import { anchorId } from '../trust/anchors.ts';
import { demandTerms } from './demand-terms.ts';
import { packTree } from './pack-tree.ts';

export interface SealReleaseOptions extends SealTermsRequest {
  /** An `init` folder. */
  readonly keys: string;
  /** `init` folders of other CAs whose loaders shall start this release too, while a CA is being replaced. */
  readonly alsoKeys?: readonly string[];
  /** A program that signs for all of these keys, and its arguments: see `signers.toml`. */
  readonly signerCommand?: readonly string[];
  /** A STATE folder whose log shall have an entry of this. */
  readonly state?: string;
  /** Aborts where nobody waits any more: a signer that is being asked is ended. */
  readonly ended?: AbortSignal;
  /** Who knows the passphrases of keys that have one. */
  readonly passphrase?: AskPassphrase;
}

export interface SealResult extends Sealed {
  readonly layout: Layout;
}

/** Seals a tree: every seal, one pass. Throws a `Refusal`, a `UsageError` or an `IoError`. */
export async function seal(options: SealReleaseOptions): Promise<SealResult> {
  const layout = await recogniseTree(options.tree, {
    ...options,
    makePack: (...pack) => packTree(...pack, options.onPack),
  });
  expectMeasuring(Math.max(...layout.artifacts.map(({ size }) => size)));
  const wanted = demandTerms(layout, options);
  const { now, signerCommand } = options;
  const keys = await readSealingKeys(options.keys, now, signerCommand, accessOf(options));
  const others = await otherCas(keys, options);
  const terms = await sealTerms(
    layout,
    wanted,
    others.map(({ id }) => id),
  );
  const sealed = await sealTree(options.tree, layout, keys, { ...terms, others });
  if (options.state !== undefined) {
    const { logSeal } = await import('./log-seal.ts');
    await logSeal(options.state, options.tree, sealed, options.now);
  }
  return { ...sealed, layout };
}

/** The other CAs, each once: one set of iPXE seals serves every loader that trusts a CA. */
async function otherCas(
  keys: SealingKeys,
  { alsoKeys = [], now, ...options }: SealReleaseOptions,
): Promise<OtherSealingCa[]> {
  const others: OtherSealingCa[] = [];
  const taken = new Set([anchorId(trustedOf(keys))]);
  for (const folder of alsoKeys) {
    const other = await readLoaderSealingKeys(folder, now, accessOf(options));
    const id = anchorId(trustedOf(other));
    if (taken.has(id)) {
      throw new UsageError(
        `${folder} has the same CA as the keys before it; name each CA once, since its loaders need one set of seals.`,
      );
    }
    taken.add(id);
    others.push({ id, keys: other });
  }
  return others;
}
