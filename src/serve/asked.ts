/** Characters that are kept of what a client asked for. */
const LONGEST = 200;
/** What nearly everybody asks for needs no more than a look. */
const PLAIN = /^[\x20-\x5b\x5d-\x7e]*$/;

/**
 * What a client asked for, fit for a log line: printable ASCII, everything else by its code, and not too long. It
 * may have been chosen to look like something else on a terminal.
 */
export function askedText(asked: string): string {
  if (asked.length <= LONGEST && PLAIN.test(asked)) return asked;
  const text = asked
    .slice(0, LONGEST)
    .replace(/[^\x20-\x7e]|\\/g, (character) =>
      character === '\\' ? '\\\\' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  return asked.length > LONGEST || text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
