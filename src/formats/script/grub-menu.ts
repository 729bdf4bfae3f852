import { grubMachineSet } from './grub-machines.ts';
import { type GrubPiece, grubText, grubTokens } from './grub-tokens.ts';
import { GRUB_KEYWORDS } from './kernel-lines.ts';

/** What a configuration leads to that boots no release itself: a menu, or the end of GRUB. */
export type GrubLead =
  | {
      readonly kind: 'menu';
      readonly entries: readonly GrubEntry[];
      /** The entry that starts when nobody chooses; undefined: the first. */
      readonly default: string | undefined;
      /** False where the menu waits for ever. */
      readonly timed: boolean;
      readonly machines?: readonly string[];
    }
  /** The firmware goes on to its next boot entry. */
  | { readonly kind: 'exit'; readonly machines?: readonly string[] };

export interface GrubEntry {
  readonly id: string;
  readonly label: string;
  /** The configuration on the server that it opens, `/channels/stable/grub.cfg`; undefined: none. */
  readonly opens?: string;
  readonly exits: boolean;
}

/** Undefined for a configuration that is neither. Conditions count as if each let the machine pass. */
export function grubLead(bytes: Uint8Array): GrubLead | undefined {
  const { statements } = grubTokens(Buffer.from(bytes).toString('latin1'));
  const only = grubMachineSet(statements);
  const machines = only ? { machines: only } : {};
  const entries: { id: string; label: string; opens?: string; exits: boolean }[] = [];
  let entry: (typeof entries)[number] | undefined;
  let inFunction = false;
  let exits = false;
  const set = new Map<string, string>();
  for (const { words, end } of statements) {
    const [command = '', first = '', ...more] = commandOf(words);
    if (end === '{') {
      inFunction = command !== 'menuentry';
      const id = more[more.indexOf('--id') + 1];
      entry = inFunction
        ? undefined
        : { id: more.includes('--id') ? (id ?? first) : first, label: first, exits: false };
      if (entry) entries.push(entry);
      continue;
    }
    if (entry && command === 'configfile') entry.opens ??= first.replace(/^(\([^)]*\)|\$[A-Za-z_]+)/, '');
    if (entry && command === 'exit') entry.exits = true;
    if (!entry && !inFunction && command === 'exit') exits = true;
    if (!entry && !inFunction && command === 'set') {
      const [, name = '', value = ''] = /^([A-Za-z0-9_]+)=(.*)$/.exec(first) ?? [];
      set.set(name, value);
    }
    if (end === '}') {
      entry = undefined;
      inFunction = false;
    }
  }
  if (exits) return { kind: 'exit', ...machines };
  if (entries.length === 0) return undefined;
  const timed = Number(set.get('timeout') ?? -1) >= 0;
  return { kind: 'menu', entries, default: set.get('default'), timed, ...machines };
}

/** The words of a command, without those of GRUB's language before it. */
function commandOf(words: readonly (readonly GrubPiece[])[]): readonly string[] {
  const texts = words.map(grubText);
  const start = texts.findIndex((word) => !GRUB_KEYWORDS.has(word));
  return start < 0 ? [] : texts.slice(start);
}
