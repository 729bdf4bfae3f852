/** How each character that a terminal obeys is shown. */
const NAMED: Readonly<Record<string, string>> = { '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/**
 * One line of text with nothing in it that a terminal obeys (ECMA-48: C0, DEL, C1): names in certificates and
 * the lines of scripts come from whoever answered, who could take back what stands above and write a verdict
 * of his own.
 */
export function printable(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f]/g,
    (control) => NAMED[control] ?? `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
