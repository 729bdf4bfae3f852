/** C0 and DEL, C1, the line separators, and what turns the direction of writing (Unicode 15 §23.2). */
const OBEYED = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/**
 * What a program or a server said, as one line fit for a message or a log: UTF-8, with everything that a
 * terminal obeys written as `\x1b`, so that nobody takes back what stands above and writes a verdict of his own.
 *
 * @param limit most bytes shown; of more the end is kept, where programs say why they gave up.
 */
export function printableText(octets: Uint8Array, limit: number): string {
  const shown = Buffer.from(octets.subarray(Math.max(0, octets.length - limit)));
  const text = shown
    .toString('utf8')
    .trim()
    .replaceAll(/\s*\n\s*/g, ' / ');
  const escaped = text.replaceAll(OBEYED, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, '0')}`;
  });
  return octets.length > limit ? `… ${escaped}` : escaped;
}
