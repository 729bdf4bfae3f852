import cliProgress from 'cli-progress';
import { type Cell, layoutTable, paint, type Style, wantsColour } from './table.ts';

export interface TerminalOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/**
 * The only writer to the terminal. Results go to standard output, everything said on the way to standard
 * error; with `--json` standard output holds one object and nothing else.
 */
export class Terminal {
  readonly #options: TerminalOptions;
  readonly #outColour = wantsColour(process.stdout);
  readonly #errColour = wantsColour(process.stderr);

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  /** A result for people; `--json` replaces it. */
  print(text = '', style?: Style): void {
    if (!this.#options.json && !this.#options.quiet)
      process.stdout.write(`${paint(text, style, this.#outColour)}\n`);
  }

  table(header: readonly string[], rows: readonly (readonly Cell[])[]): void {
    this.print(layoutTable(header, rows, this.#outColour));
  }

  /** The result for machines: one line. */
  json(value: unknown): void {
    if (this.#options.json) process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** What happens on the way. */
  note(text: string): void {
    if (!this.#options.quiet) process.stderr.write(`${paint(text, 'dim', this.#errColour)}\n`);
  }

  /** Always shown. */
  error(text: string): void {
    process.stderr.write(`${paint(text, 'bad', this.#errColour)}\n`);
  }

  /** A progress bar on a terminal, a plain line at the end elsewhere. `total` in octets. */
  progress(what: string, total: number): Progress {
    if (this.#options.quiet || !process.stderr.isTTY) return new Progress(undefined, () => this.note(what));
    const bar = new cliProgress.SingleBar({
      format: `${what}  {bar}  {percentage}%  {done} of {size}  {eta_formatted} left`,
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      barCompleteChar: '━',
      barIncompleteChar: '─',
    });
    bar.start(total, 0, { done: octets(0), size: octets(total) });
    return new Progress(bar, () => {});
  }
}

export class Progress {
  readonly #bar: cliProgress.SingleBar | undefined;
  readonly #atEnd: () => void;

  constructor(bar: cliProgress.SingleBar | undefined, atEnd: () => void) {
    this.#bar = bar;
    this.#atEnd = atEnd;
  }

  update(done: number): void {
    this.#bar?.update(done, { done: octets(done) });
  }

  stop(): void {
    this.#bar?.stop();
    this.#atEnd();
  }
}

/** `8.2 MB` from octets. */
export function octets(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[power]}`;
}
