import type { Place } from './segments.ts';

/** Where lines of receipts are kept. */
export interface ReceiptLines {
  /** Why lines that were taken are in memory alone for the time being; undefined while all is well. */
  readonly fault?: Error | undefined;
  /** @throws IoError */
  append(line: Buffer): Promise<Place>;
  /** Without its newline; undefined where it is gone. @throws IoError */
  read(place: Place): Promise<string | undefined>;
  /** Lets go what is too old, or too much. @returns the segments that are gone. @throws IoError */
  collect(): Promise<readonly string[]>;
  /** Time passes: called every second. */
  tick?(): void;
  close(): Promise<void>;
}

/** Lines of one segment, and segments. */
const LINES = 1000;
const SEGMENTS = 10;

/** The last receipts of a server that has no folder for them. */
export class MemoryLines implements ReceiptLines {
  readonly #segments = new Map<string, string[]>();
  #last = 0;

  async append(line: Buffer): Promise<Place> {
    let lines = this.#segments.get(`memory/${this.#last}`);
    if (!lines || lines.length >= LINES) {
      this.#last += 1;
      lines = [];
      this.#segments.set(`memory/${this.#last}`, lines);
    }
    lines.push(line.toString('utf8', 0, line.length - 1));
    return { segment: `memory/${this.#last}`, offset: lines.length - 1, length: line.length };
  }

  async read({ segment, offset }: Place): Promise<string | undefined> {
    return this.#segments.get(segment)?.[offset];
  }

  async collect(): Promise<readonly string[]> {
    const gone = [...this.#segments.keys()].slice(0, Math.max(0, this.#segments.size - SEGMENTS));
    for (const segment of gone) this.#segments.delete(segment);
    return gone;
  }

  async close(): Promise<void> {}
}
