/** Characters that are kept of what a client asked for. */
const LONGEST = 200;
/** What nearly everybody asks for needs no more than a look. */
const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/;

/** How tokens begin (`store/tokens.ts`), wherever somebody puts one: a log is read by more people than a token is for. */
const TOKEN_BEGINS = 'bst_';
const TOKENS = /bst_[A-Za-z0-9_-]+/g;

/** True where a token may be in what a client asked for. */
export function holdsToken(asked: string): boolean {
  return asked.includes(TOKEN_BEGINS) && /bst_[A-Za-z0-9_-]{40}/.test(asked);
}

/**
 * What a client asked for, fit for a log line: printable ASCII, everything else by its code, not too long, and without
 * tokens. It may have been chosen to look like something else on a terminal.
 */
export function askedText(requested: string): string {
  const asked = requested.includes(TOKEN_BEGINS) ? requested.replace(TOKENS, 'bst_...') : requested;
  if (asked.length <= LONGEST && PLAIN.test(asked)) return asked;
  const text = asked
    .slice(0, LONGEST)
    .replace(/[^\x20-\x7e]|\\/g, (character) =>
      character === '\\' ? '\\\\' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  return asked.length > LONGEST || text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
