/** GRUB's script language, as far as words and commands go (GRUB `grub-core/script/yylex.l`). */

/** A part of a word that stands in one kind of quotes: `'` keeps everything, `"` expands variables, none splits them too. */
export interface GrubPiece {
  readonly text: string;
  readonly quotes: '' | '"' | "'";
}

export interface GrubStatement {
  /** From 1. */
  readonly line: number;
  readonly words: readonly (readonly GrubPiece[])[];
  /** The character that ends it; empty at the end of the text. */
  readonly end: string;
}

export interface GrubTokens {
  readonly statements: readonly GrubStatement[];
  /** Lines with what a plain script needs not: a pipe, a backslash outside of quotes, a quote without its other. */
  readonly odd: readonly number[];
}

/** Splits into commands and their words. What ends a command is no part of it; one may be empty. */
export function grubTokens(text: string): GrubTokens {
  // Whoever verifies a configuration asks several things about it, one after another.
  if (last?.text !== text) last = { text, tokens: split(text) };
  return last.tokens;
}

/** What was read last, by its whole text. */
let last: { readonly text: string; readonly tokens: GrubTokens } | undefined;

function split(text: string): GrubTokens {
  const statements: GrubStatement[] = [];
  const odd: number[] = [];
  let words: GrubPiece[][] = [];
  let word: GrubPiece[] | undefined;
  let line = 1;
  let first = line;
  const endWord = (): void => {
    if (word !== undefined) words.push(word);
    word = undefined;
  };
  const add = (piece: string, quotes: GrubPiece['quotes']): void => {
    if (words.length === 0 && word === undefined) first = line;
    word ??= [];
    const last = word.at(-1);
    if (last?.quotes === quotes && quotes === '') word[word.length - 1] = { text: last.text + piece, quotes };
    else word.push({ text: piece, quotes });
  };
  const token =
    /'(?<single>[^']*)'|"(?<double>(?:\\[\s\S]|[^"\\])*)"|\\(?<escaped>[\s\S])|(?<blank>[ \t\r]+)|(?<end>[\n;|&<>{}])|\$\{[^}]*\}|[^\s'"\\;|&<>{}#$]+|[\s\S]/g;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [whole] = match;
    const { single, double, escaped, blank, end } = match.groups ?? {};
    if (whole === '#' && word === undefined) {
      const next = text.indexOf('\n', token.lastIndex);
      token.lastIndex = next < 0 ? text.length : next;
      continue;
    }
    if (blank !== undefined) endWord();
    else if (end !== undefined) {
      endWord();
      statements.push({ line: words.length > 0 ? first : line, words, end });
      words = [];
    } else if (single !== undefined) add(single, "'");
    else if (double !== undefined) add(double.replace(/\\([\s\S])/g, unescaped), '"');
    else if (escaped !== '\n') add(escaped ?? whole, '');
    if (escaped !== undefined || /^["'|&<>]$/.test(whole) || double?.includes('\\')) odd.push(line);
    if (whole.includes('\n')) line += whole.split('\n').length - 1;
  }
  endWord();
  return { statements: [...statements, { line: words.length > 0 ? first : line, words, end: '' }], odd };
}

/** Within double quotes a backslash stands for itself, but before these. */
function unescaped(whole: string, next: string): string {
  if (next === '\n') return '';
  return ['$', '"', '\\'].includes(next) ? next : whole;
}

/** A word with its quotes taken off. */
export function grubText(word: readonly GrubPiece[]): string {
  return word.map(({ text }) => text).join('');
}

/** The variables that a word expands, and whether GRUB splits what they hold. */
export function grubExpansions(
  word: readonly GrubPiece[],
): { readonly name: string; readonly split: boolean }[] {
  return word.flatMap(({ text, quotes }) =>
    quotes === "'"
      ? []
      : [...text.matchAll(/\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@#*?]))/g)].map(
          ([, braced, bare]) => ({
            name: braced ?? bare ?? '',
            split: quotes === '',
          }),
        ),
  );
}
