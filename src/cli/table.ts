import { printable } from './printable.ts';

/** Columns that line up, for people. */

export interface Cell {
  readonly text: string;
  readonly style?: Style;
}

export type Style = 'good' | 'bad' | 'dim' | 'bold';

const CODES: Readonly<Record<Style, string>> = { good: '32', bad: '31', dim: '2', bold: '1' };

/** Whether colours belong on a stream: a terminal that did not ask for none (https://no-color.org). */
export function wantsColour(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

export function paint(text: string, style: Style | undefined, colour: boolean): string {
  return style && colour ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
}

/** Lays out rows under a header; every column as wide as its widest cell. Control characters are shown. */
export function layoutTable(
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
  colour: boolean,
): string {
  const head = header.map((text): Cell => ({ text, style: 'bold' }));
  const all = [head, ...rows].map((row) =>
    row.map(({ text, ...cell }): Cell => ({ text: printable(text), ...cell })),
  );
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.text.length ?? 0)));
  return all
    .map((row) =>
      row
        .map(
          ({ text, style }, column) =>
            paint(text, style, colour) + ' '.repeat((widths[column] ?? 0) - text.length),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
