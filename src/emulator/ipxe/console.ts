/** The machine's console: what was printed, and each line as it is finished. */
export class Console {
  private text = '';
  private line = '';
  private readonly onLine: (line: string) => void;
  private readonly spend: (octets: number) => void;

  /** @param spend told of every byte before it is printed; it may throw. */
  constructor(onLine: (line: string) => void, spend: (octets: number) => void) {
    this.onLine = onLine;
    this.spend = spend;
  }

  /** `bytes` is text of one character per byte, as scripts have it; a terminal shows it as UTF-8. */
  readonly print = (octets: string): void => {
    this.spend(octets.length);
    this.text += octets;
    const [first = '', ...more] = octets.split('\n');
    this.line += first;
    for (const next of more) {
      this.onLine(utf8(this.line));
      this.line = next;
    }
  };

  /** Everything so far. */
  all(): string {
    return utf8(this.text);
  }
}

function utf8(octets: string): string {
  return Buffer.from(octets, 'latin1').toString('utf8');
}
