import { UsageError } from '../errors/usage.ts';
import type { Tree } from '../files/tree.ts';
import { otherBootIpxe } from '../formats/records/seal-names.ts';
import { readAnchorFolder } from './anchor-folder.ts';
import { type Anchors, anchorId } from './anchors.ts';
import { readSelfAnchor } from './self-anchor.ts';

/** What a verifier starts from. */
export interface TrustRoots {
  /** What a release is verified with as a whole. */
  readonly own: Anchors;
  /**
   * Of other CAs whose loaders shall start it too, while a CA is being replaced: of these counts what their loaders
   * look at.
   */
  readonly others: readonly Anchors[];
  /** False: they came with the tree. Its seals then agree with each other, and nobody vouches for them. */
  readonly anchored: boolean;
}

/** Folders of anchors, or the `init` folders around them. The first verifies a release as a whole. */
export type AnchorFolders = string | readonly string[];

/**
 * Reads the anchors of each CA whose loaders shall start a release.
 *
 * @throws UsageError where a folder holds too few, or two hold the same CA; Refusal `malformed`; IoError.
 */
export async function readTrustRoots(folders: AnchorFolders): Promise<TrustRoots> {
  const read: Anchors[] = [];
  for (const folder of typeof folders === 'string' ? [folders] : folders) {
    const anchors = await readAnchorFolder(folder);
    demandAllAnchors(folder, anchors);
    if (read.some((other) => idOf(other) === idOf(anchors))) {
      throw new UsageError(
        `${folder} holds the same CA as the anchors before it; name one folder for each CA.`,
      );
    }
    read.push(anchors);
  }
  const [own, ...others] = read;
  if (!own) throw new UsageError('No anchors were named: there is nothing to verify with.');
  return { own, others, anchored: true };
}

/** The trust roots that a tree brings along. */
export async function readSelfRoots(tree: Tree): Promise<TrustRoots> {
  return { own: await readSelfAnchor(tree), others: [], anchored: false };
}

/**
 * Which of the trust roots a release was sealed for: first those whose CA its `boot.ipxe` carries, then those for
 * whose loaders it has a script of their own. While a CA is being replaced a server has releases of before, of the
 * overlap and of after. This decides nothing: each is verified yet.
 */
export async function fittingRoots(tree: Tree, { own, others, anchored }: TrustRoots): Promise<TrustRoots> {
  if (others.length === 0) return { own, others, anchored };
  const all = [own, ...others];
  const carried = idOf(await readSelfAnchor(tree));
  const first = all.find((anchors) => idOf(anchors) === carried) ?? own;
  const names = new Set(await tree.list(''));
  const rest = all.filter((anchors) => anchors !== first && names.has(otherBootIpxe(idOf(anchors))));
  return { own: first, others: rest, anchored };
}

/** Of the CA that loaders trust. */
export function idOf({ ca: [ca] }: Anchors): string {
  if (!ca) throw new RangeError('anchors without a CA');
  return anchorId(ca);
}

/** Fewer anchors would mean fewer checks, and a table that looks as good as a full one. @throws UsageError */
export function demandAllAnchors(folder: string, anchors: Anchors): void {
  for (const [name, found] of [
    ['codesign.crt', anchors.codesign.length],
    ['boot.crt', anchors.bootSigner ? 1 : 0],
    ['manifest.crt', anchors.manifest.length],
    ['pubring.gpg', anchors.openpgp.payload.length],
    ['script.gpg', anchors.openpgp.script.length],
    ['manifest.gpg', anchors.openpgp.manifest.length],
  ] as const) {
    if (found) continue;
    const old = anchors.manifest.length === 0 && anchors.codesign.length > 0;
    const made = old
      ? '; keys of an earlier Bootseal had no key for records: make new ones with "bootseal init"'
      : '';
    throw new UsageError(`${folder} holds no ${name}, so not every seal can be verified${made}.`);
  }
}
