/**
 * Text for man(7) pages, as groff, mandoc and man-db read them: ASCII, whatever it says (groff_char(7)). What is
 * typed must come out as it can be typed again: an unescaped `-`, `'`, `^` or `~` is another character on a screen.
 */

const NAMED: Readonly<Record<string, string>> = {
  '\\': '\\e',
  '-': '\\-',
  "'": '\\(aq',
  '"': '\\(dq',
  '`': '\\(ga',
  '^': '\\(ha',
  '~': '\\(ti',
};

export function roffText(text: string): string {
  const escaped = text
    .replace(/[\\'"`^~-]/g, (one) => NAMED[one] ?? one)
    .replace(/[^\x20-\x7e]/gu, (one) => `\\[u${hex(one)}]`);
  // A line that begins so would be a request.
  return escaped.startsWith('.') ? `\\&${escaped}` : escaped;
}

export function bold(text: string): string {
  return `\\fB${roffText(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${roffText(text)}\\fR`;
}

/** `<tree>`, `[dir]`, `<paths...>`: what is to be put in place of a word is told by its letters, not by brackets. */
export function placeholder(text: string): string {
  const [, opens, name = text, more = ''] = /^([<[])(.+?)(\.\.\.)?[>\]]$/.exec(text) ?? [];
  const shown = `${italic(name)}${more}`;
  return opens === '[' ? `[${shown}]` : shown;
}

/** A call that may be copied: each line as it is. */
export function exampleLines(text: string): readonly string[] {
  return ['.RS 4', '.nf', ...text.split('\n').map(roffText), '.fi', '.RE'];
}

/** A list of terms, each with what it means. */
export function terms(list: readonly (readonly [term: string, meaning: string])[]): readonly string[] {
  return list.flatMap(([term, meaning]) => ['.TP', term, roffText(meaning)]);
}

function hex(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
}
