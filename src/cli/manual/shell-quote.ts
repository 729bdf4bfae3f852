/** A word between single quotes, as sh, bash and zsh read it. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * A choice stands unquoted in lists of words.
 *
 * @throws Error for one that no list can hold: whoever defines it finds out by the tests.
 */
export function plainWord(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(text))
    throw new Error(`${JSON.stringify(text)} is no plain word.`);
  return text;
}
