import { type GrubPiece, grubText } from './grub-tokens.ts';
import { GRUB_KEYWORDS } from './kernel-lines.ts';

/** Which of ours says that this is one of the machines that a configuration is for. */
const GRUB_MINE = 'bootseal_mine';

/**
 * Addresses of the cards of those machines that a configuration is for, with colons; undefined: for all.
 *
 * @param statements each a command and its words.
 */
export function grubMachineSet(
  statements: readonly { readonly words: readonly (readonly GrubPiece[])[] }[],
): readonly string[] | undefined {
  const machines: string[] = [];
  let onlyThese = false;
  for (const { words } of statements) {
    const start = words.findIndex((word) => !GRUB_KEYWORDS.has(grubText(word)));
    const [command, variable, operator, value, end] = words.slice(Math.max(start, 0)).map(grubText);
    if (command !== '[' || end !== ']') continue;
    if (variable === '$net_default_mac' && operator === '=' && value !== undefined) machines.push(value);
    if (variable === `$${GRUB_MINE}` && operator === '!=' && value === 'yes') onlyThese = true;
  }
  return onlyThese ? machines : undefined;
}
