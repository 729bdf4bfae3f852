/** How each character that a terminal obeys is shown. */
const NAMED: Readonly<Record<string, string>> = { '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/**
 * One line of text with nothing in it that a terminal obeys (ECMA-48: C0, DEL, C1; the line separators and what
 * turns the direction of writing, Unicode 15 §23.2): names in certificates and the lines of scripts come from
 * whoever answered, who could take back what stands above and write a verdict of his own.
 */
export function printable(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (control) => NAMED[control] ?? numbered(control.charCodeAt(0).toString(16)),
  );
}

function numbered(code: string): string {
  return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, '0')}`;
}
