/** A word of a command line: a text, or a variable that the shell is to fill in. */
export type ShellWord = string | { readonly variable: string };

/** A command line for a shell, each word of it as it is, whatever stands in it. */
export function shellLine(words: readonly ShellWord[]): string {
  return words.map((word) => (typeof word === 'string' ? quoted(word) : `"$${word.variable}"`)).join(' ');
}

function quoted(word: string): string {
  return /^[A-Za-z0-9._+:,=/@%-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
