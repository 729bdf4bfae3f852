import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import type { Tree } from '../files/tree.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { LocalRelease } from '../store/release-shelf.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { readManifestOf } from '../store/stored-manifest.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { fittingRoots, type TrustRoots } from '../trust/trust-roots.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { type Verdict, Verifier } from '../trust/verifier.ts';

export interface JudgedRelease {
  readonly verdict: Verdict & { readonly release: VerifiedRelease };
  /** Whose verdict it is. */
  readonly verifier: Verifier;
}

/**
 * What is found of a stored release: verified, or why not. Only what is wrong with the state itself is thrown.
 *
 * @param now milliseconds since 1970.
 */
export async function judgeStored(
  state: string,
  release: string,
  roots: TrustRoots,
  policy: PolicyFile,
  now: number,
): Promise<JudgedRelease | Refusal> {
  return judgeTree(state, release, shelfOf(state).tree(release), roots, policy, now);
}

/**
 * The same of one that is handed to clients if it holds: `gate` is asked while its files lie on this machine.
 *
 * @param now milliseconds since 1970.
 */
export async function gateStored<T>(
  state: string,
  release: string,
  roots: TrustRoots,
  policy: PolicyFile,
  now: number,
  gate: (judged: JudgedRelease) => Promise<T>,
): Promise<{ readonly judged: JudgedRelease | Refusal; readonly gated: T | undefined }> {
  let local: LocalRelease;
  try {
    local = await shelfOf(state).local(release);
  } catch (error) {
    if (error instanceof Refusal) return { judged: error, gated: undefined };
    throw error;
  }
  try {
    const judged = await judgeTree(state, release, local.tree, roots, policy, now);
    return { judged, gated: judged instanceof Refusal ? undefined : await gate(judged) };
  } finally {
    await local.end();
  }
}

async function judgeTree(
  state: string,
  release: string,
  tree: Tree,
  roots: TrustRoots,
  policy: PolicyFile,
  now: number,
): Promise<JudgedRelease | Refusal> {
  try {
    if (!(await tree.list('')).includes(RECORD.manifest)) {
      throw new UsageError(
        `${state} does not hold ${release}: it was never published there, or its folder was removed.`,
      );
    }
    const verifier = new Verifier(await fittingRoots(tree, roots), policy, () => now);
    const verdict = await verifier.verify(tree);
    const { release: verified, refusal } = verdict;
    if (verified) return { verdict: { ...verdict, release: verified }, verifier };
    return refusal ?? new Refusal('no-verdict', `Nothing vouches for ${release}.`, { release });
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

/** Under the lock: nobody signed the release anew since it was judged. */
export async function demandUnchanged(
  state: string,
  { release, manifestSha256 }: VerifiedRelease,
): Promise<void> {
  const manifest = await readManifestOf(shelfOf(state).tree(release));
  if (manifest && createHash('sha256').update(manifest).digest('hex') === manifestSha256) return;
  throw new UsageError(`${release} changed meanwhile; try again.`);
}
