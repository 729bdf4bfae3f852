/** The machine's console: what was printed, and each line as it is finished. */
export class Console {
  private text = '';
  private line = '';
  private readonly onLine: (line: string) => void;

  constructor(onLine: (line: string) => void) {
    this.onLine = onLine;
  }

  /** `octets` is text of one character per octet, as scripts have it; a terminal shows it as UTF-8. */
  readonly print = (octets: string): void => {
    this.text += octets;
    this.line += octets;
    const lines = this.line.split('\n');
    this.line = lines.pop() ?? '';
    for (const line of lines) this.onLine(utf8(line));
  };

  /** Everything so far. */
  all(): string {
    return utf8(this.text);
  }
}

function utf8(octets: string): string {
  return Buffer.from(octets, 'latin1').toString('utf8');
}
