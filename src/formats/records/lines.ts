import { Malformed } from '../../errors/malformed.ts';

/** What our line-oriented records share: busybox sh reads them too, and each has one way to be written. */

/** `2026-11-01T00:00:00Z` from milliseconds. */
export function isoSeconds(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** The other way; undefined for all that is not written so. A date that rolls over (30 February) would have two spellings. */
export function timeOf(text: string): number | undefined {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) || isoSeconds(time) !== text ? undefined : time;
}

/** Reads `key value …` lines in their fixed order. */
export class LineReader {
  readonly #format: string;
  readonly #lines: readonly string[];
  #at = 0;

  /** @param format names it in errors. */
  constructor(format: string, lines: readonly string[]) {
    this.#format = format;
    this.#lines = lines;
  }

  fail(fact: string): Malformed {
    return new Malformed(this.#format, `line ${this.#at}: ${fact}`);
  }

  next(): string | undefined {
    return this.#lines[this.#at++];
  }

  words(key: string): string[] {
    const [first, ...rest] = (this.next() ?? '').split(' ');
    if (first !== key) throw this.fail(`"${key}" belongs here`);
    if (rest.includes('')) throw this.fail('blanks beyond one between words');
    return rest;
  }

  one(key: string): string {
    const [value, ...more] = this.words(key);
    if (value === undefined || more.length > 0) throw this.fail(`${key} takes one word`);
    return value;
  }

  /** True where the next line is of this key. */
  has(key: string): boolean {
    const line = this.#lines[this.#at];
    return line !== undefined && (line === key || line.startsWith(`${key} `));
  }

  optional(key: string, count: number): string[] | undefined {
    if (!this.has(key)) return undefined;
    const fields = this.words(key);
    if (fields.length !== count) throw this.fail(`${key} takes ${count} words`);
    return fields;
  }

  /** What follows a key and its blank, to the end of the line: for people, so blanks are kept as they are. */
  optionalText(key: string): string | undefined {
    if (!this.has(key)) return undefined;
    const text = (this.next() ?? '').slice(key.length + 1);
    if (text === '' || text.trim() !== text) throw this.fail(`${key} takes a text without blanks around it`);
    return text;
  }

  count(text: string, what: string): number {
    if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || !Number.isSafeInteger(Number(text))) {
      throw this.fail(`${what} is no number`);
    }
    return Number(text);
  }

  time(key: string): number {
    return this.moment(this.one(key), key);
  }

  moment(text: string, key: string): number {
    const time = timeOf(text);
    if (time === undefined) throw this.fail(`${key} is no time`);
    return time;
  }

  end(): void {
    if (this.#at < this.#lines.length) {
      this.#at++;
      throw this.fail('unknown, repeated or misplaced key');
    }
  }
}
