import { Refusal } from '../errors/refusal.ts';
import { PLAIN_LAYOUT } from '../formats/records/manifest.ts';
import { LAYOUTS, layoutNamed } from './layouts/all.ts';
import type { LayoutKind } from './layouts/kind.ts';

/**
 * Refuses a layout beside whose name words of another system stand. The name decides which words open a shell: under a
 * wrong one, those of the system that is really started would be free. `plain` may be any system, and forbids them all.
 *
 * @param words that early userspace sees.
 * @throws Refusal `malformed`
 */
export function demandOwnWords(release: string, layout: string, words: readonly string[]): void {
  if (layout === PLAIN_LAYOUT) return;
  const kind = layoutNamed(layout);
  const own: readonly LayoutKind[] = [kind, ...(kind.includes ?? [])];
  const marked = ({ marks }: LayoutKind, word: string) => marks.some((mark) => mark.test(word));
  const foreign = words.filter((word) => !own.some((one) => marked(one, word)));
  for (const other of LAYOUTS.filter((one) => !own.includes(one))) {
    const word = foreign.find((text) => marked(other, text));
    if (word === undefined) continue;
    throw new Refusal(
      'malformed',
      `${release} says that it is a system of ${layout}, and ${word} is a word of ${other.name}; name the layout that it is, or plain.`,
      { release, word },
    );
  }
}
