import { createRequire } from 'node:module';
import type { SingleBar } from 'cli-progress';
import { outputTakes } from './output.ts';
import { printable } from './printable.ts';
import { type Cell, layoutTable, paint, type Style, wantsColour } from './table.ts';

const require = createRequire(import.meta.url);

export interface TerminalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/**
 * The only writer to the terminal. Results go to standard output, everything said on the way to standard
 * error; with `--json` standard output holds one object and nothing else. What it is given is a line of text:
 * control characters in it, line ends included, are shown and not obeyed.
 */
export class Terminal {
  readonly #options: TerminalOptions;
  #hasObject = false;
  readonly #outColour = wantsColour(process.stdout);
  readonly #errColour = wantsColour(process.stderr);

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  /** A result for people; `--json` replaces it. */
  print(text = '', style?: Style): void {
    this.#result(paint(printable(text), style, this.#outColour));
  }

  table(header: readonly string[], rows: readonly (readonly Cell[])[]): void {
    this.#result(layoutTable(header, rows, this.#outColour));
  }

  #result(text: string): void {
    if (!this.#options.json && !this.#options.quiet && outputTakes()) process.stdout.write(`${text}\n`);
  }

  /** The result for machines: one line, and only the first; a fault after it has no place there. */
  json(value: unknown): void {
    if (!this.#options.json || this.#hasObject || !outputTakes()) return;
    this.#hasObject = true;
    // JSON leaves DEL and C1 as they are.
    process.stdout.write(`${escapeRest(JSON.stringify(value))}\n`);
  }

  /** One of many, of a command that goes on: each a line. */
  jsonLine(value: unknown): void {
    if (this.#options.json && outputTakes()) process.stdout.write(`${escapeRest(JSON.stringify(value))}\n`);
  }

  /** The last word where it is a refusal: it is never left out, whatever else is. */
  refused(text: string): void {
    if (this.#options.json || this.#options.quiet) this.error(text);
    else this.print(text, 'bad');
  }

  /** What happens on the way. */
  note(text: string): void {
    if (!this.#options.quiet) process.stderr.write(`${paint(printable(text), 'dim', this.#errColour)}\n`);
  }

  /** Always shown. */
  error(text: string): void {
    process.stderr.write(`${paint(printable(text), 'bad', this.#errColour)}\n`);
  }

  /** A progress bar on a terminal, a plain line at the start elsewhere. `total` in bytes, or as `unit` has it. */
  progress(what: string, total: number, unit: (count: number) => string = octets): Progress {
    if (!process.stderr.isTTY) this.note(what);
    if (this.#options.quiet || !process.stderr.isTTY) return new Progress(undefined, unit);
    // Loaded where one is drawn: most commands end before, and most that do not are no terminal's.
    const { SingleBar } = require('cli-progress') as typeof import('cli-progress');
    const bar = new SingleBar({
      format: `${printable(what)}  {bar}  {percentage}%  {done} of {size}  {eta_formatted} left`,
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      barCompleteChar: '━',
      barIncompleteChar: '─',
    });
    bar.start(total, 0, { done: unit(0), size: unit(total) });
    return new Progress(bar, unit);
  }
}

export class Progress {
  readonly #bar: SingleBar | undefined;
  readonly #unit: (count: number) => string;

  constructor(bar: SingleBar | undefined, unit: (count: number) => string) {
    this.#bar = bar;
    this.#unit = unit;
  }

  /** @param total bytes, where more turned out to be ahead. */
  grow(total: number): void {
    this.#bar?.setTotal(total);
  }

  update(done: number): void {
    this.#bar?.update(done, { done: this.#unit(done), size: this.#unit(this.#bar.getTotal()) });
  }

  stop(): void {
    this.#bar?.stop();
  }
}

function escapeRest(json: string): string {
  return json.replace(/[\x7f-\x9f]/g, (control) => `\\u00${control.charCodeAt(0).toString(16)}`);
}

/** `8.2 MB` from bytes. */
export function octets(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[power]}`;
}
