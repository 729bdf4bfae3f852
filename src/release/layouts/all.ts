import { UsageError } from '../../errors/usage.ts';
import { PLAIN_LAYOUT } from '../../formats/records/manifest.ts';
import { alpine } from './alpine.ts';
import { anaconda } from './anaconda.ts';
import { archiso } from './archiso.ts';
import { casper } from './casper.ts';
import { coreos } from './coreos.ts';
import { debianInstaller } from './debian-installer.ts';
import { dracutLive } from './dracut-live.ts';
import type { LayoutDraft } from './draft.ts';
import type { LayoutKind } from './kind.ts';
import { liveBoot } from './live-boot.ts';
import { ltsp } from './ltsp.ts';
import { memtest } from './memtest.ts';
import { nixos } from './nixos.ts';
import { systemd } from './systemd.ts';
import type { TreeNames } from './tree-names.ts';

/** Any other system: nothing is known of what it fetches, and nothing of what it checks. */
const plain: LayoutKind = { name: PLAIN_LAYOUT, marks: [], fetches: [] };

export const LAYOUTS: readonly LayoutKind[] = [
  ...[archiso, debianInstaller, liveBoot, casper, ltsp, dracutLive, anaconda],
  ...[coreos, nixos, alpine, systemd, memtest, plain],
];

/** The kind that a manifest's `layout` names; one that nobody knows here is any system. */
export function layoutNamed(name: string): LayoutKind {
  return LAYOUTS.find((kind) => kind.name === name) ?? plain;
}

/** @throws UsageError for a name that no layout has. */
export function demandLayout(name: string): LayoutKind {
  const found = LAYOUTS.find((kind) => kind.name === name);
  if (found) return found;
  throw new UsageError(
    `There is no layout ${JSON.stringify(name)}; there are ${LAYOUTS.map((kind) => kind.name).join(', ')}.`,
  );
}

/**
 * The layout whose words stand on a command line; undefined where there are none. Words that a layout shares with one
 * that it includes are its own.
 *
 * @throws UsageError where words of two stand there.
 */
export function layoutOfWords(words: readonly string[]): LayoutKind | undefined {
  const marked = LAYOUTS.filter(({ marks }) => words.some((word) => marks.some((mark) => mark.test(word))));
  const included = new Set(marked.flatMap(({ includes = [] }) => includes));
  return single(
    marked.filter((kind) => !included.has(kind)),
    'The command line',
  );
}

/**
 * Finds the layout by whose publisher's habits the files of a tree lie.
 *
 * @param wanted asks this one alone.
 * @throws UsageError where two fit.
 */
export async function recogniseLayout(
  names: TreeNames,
  wanted: LayoutKind | undefined,
): Promise<LayoutDraft | undefined> {
  const found: { readonly kind: LayoutKind; readonly draft: LayoutDraft }[] = [];
  for (const kind of wanted ? [wanted] : LAYOUTS) {
    const draft = await kind.recognise?.(names);
    if (draft) found.push({ kind, draft });
  }
  const kind = single(
    found.map((one) => one.kind),
    names.tree,
  );
  const draft = found[0]?.draft;
  return kind && draft && { ...draft, layout: kind.name };
}

function single(kinds: readonly LayoutKind[], what: string): LayoutKind | undefined {
  const [first, second] = kinds;
  if (first && second) {
    throw new UsageError(
      `${what} fits two layouts, ${first.name} and ${second.name}; name the one that it is with --layout.`,
    );
  }
  return first;
}
