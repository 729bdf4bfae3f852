import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { html } from '../../src/web/html.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
};

/** As a browser reads text and quoted attributes. */
function read(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity] ?? '');
}

it('a text stays a text, in an element and in an attribute', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const made = html`<p title="${text}">${text}</p>`.toString();
      const [, title = '', inside = ''] = /^<p title="([^"<>]*)">([^<>]*)<\/p>$/s.exec(made) ?? [];
      assert.equal(title, inside);
      const visible = text.replace(
        /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
        '',
      );
      if (visible === text) assert.equal(read(inside), text);
    }),
  );
});

it('pieces are put in as they are, lists one after the other, nothing where there is nothing', () => {
  const rows = ['a<', 'b'].map((text) => html`<li>${text}</li>`);
  assert.equal(
    html`<ul>${rows}${undefined}${false}${7}</ul>`.toString(),
    '<ul><li>a&lt;</li><li>b</li>7</ul>',
  );
});

it('what turns a line round, or cannot be seen, is shown by its code', () => {
  assert.equal(html`${'a\u202eb\u200bc\x1b[2J'}`.toString(), 'a\\u202eb\\u200bc\\u001b[2J');
});
