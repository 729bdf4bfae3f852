import type { LayoutDraft } from './draft.ts';
import type { TreeNames } from './tree-names.ts';

/** Who checks a thing before a machine uses it. */
export type Verifying = 'loader' | 'overlay' | 'system' | 'nobody';

/** What a word of a command line makes a system fetch, or read from where nobody signed. */
export interface FetchWord {
  /** Of the words `KEY`, `KEY=…`. */
  readonly key: string;
  /** Which values do; default: those that hold an address. */
  readonly when?: RegExp;
  /** For people: `the root image`. */
  readonly what: string;
  /** What it fetches is the root image. */
  readonly root?: true;
  /** How the system itself checks it, where it does; undefined: nobody does. */
  readonly checked?: (value: string, files: readonly { readonly path: string }[]) => string | undefined;
  /** May stand several times, each with a meaning of its own. */
  readonly several?: true;
}

/** What a system takes without any word, by its nature. */
export interface Unasked {
  /** For people, and for a policy, which allows it by this: printable ASCII. */
  readonly what: string;
  /** Nobody: whoever answers it is believed. */
  readonly by: 'system' | 'nobody';
  /** By which check; why not, where nobody does, and what keeps it from that. */
  readonly how: string;
  /** Whether a command line keeps it from that. Of a free word the value is empty. */
  readonly unless?: (words: readonly string[]) => boolean;
}

/** What is known of one kind of system. Each is a file of its own; `docs/trees.md` has a recipe for each. */
export interface LayoutKind {
  /** As `layout` in a manifest names it. */
  readonly name: string;
  /** The files of a tree as this system's publisher lays them out; undefined where this is none. */
  readonly recognise?: (names: TreeNames) => Promise<LayoutDraft | undefined>;
  /** Words that no other system reads. */
  readonly marks: readonly RegExp[];
  /** Other kinds whose programs this one consists of: their marks stand on its lines, and their words mean the same. */
  readonly includes?: readonly LayoutKind[];
  readonly fetches: readonly FetchWord[];
  /** The key as it reads one that may be written in other ways, too. */
  readonly keyOf?: (key: string) => string;
  /** What it looks for on disks of its own where no word names a root image, nor one of these does. */
  readonly searches?: { readonly what: string; readonly unless: RegExp };
  readonly always?: readonly Unasked[];
  /** How it checks a root image that the release lists, by the words; undefined: it does not. */
  readonly checksRoot?: (words: readonly string[]) => string | undefined;
  /** How a root image rides in an initrd: its path there, and the words by which the system finds it. */
  readonly packed?: {
    readonly at: (name: string) => string;
    readonly words: (at: string) => readonly string[];
  };
  /** Of the words, what makes every machine halt under an overlay that hands over; one sentence. */
  readonly haltsOverlay?: (words: readonly string[]) => string | undefined;
}
