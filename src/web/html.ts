/** Known to this file alone: nobody else can make one, so whatever was put into it is escaped. */
class Escaped {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

/** A piece of HTML. */
export type Html = Escaped;

/** What may stand in a template: pieces as they are, texts and numbers escaped, nothing where there is nothing. */
export type Hole = Html | string | number | false | undefined | readonly Hole[];

/**
 * A template of HTML that escapes by default: what a client sent can become text, or the value of a quoted attribute, and
 * nothing else. There is no way to put a text in unescaped.
 */
export function html(parts: TemplateStringsArray, ...holes: readonly Hole[]): Html {
  let text = parts[0] ?? '';
  for (const [index, hole] of holes.entries()) text += textOf(hole) + (parts[index + 1] ?? '');
  return new Escaped(text);
}

function textOf(hole: Hole): string {
  if (hole === undefined || hole === false) return '';
  if (hole instanceof Escaped) return hole.text;
  if (typeof hole === 'string') return escapeHtml(hole);
  if (typeof hole === 'number') return String(hole);
  return hole.map(textOf).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Fit for text and for quoted attributes. Letters that turn the direction of what follows, or that nobody sees, are shown
 * by their code: a name shall look like what it is.
 */
function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
    .replace(
      /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
}
