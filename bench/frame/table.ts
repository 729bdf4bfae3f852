import { type Cell, layoutTable } from '../../src/cli/table.ts';
import type { Goal, Result, Unit } from './row.ts';

/** The table of all rows, for a terminal and for docs. */

const HEAD = ['job', 'against', 'ours', 'theirs', 'measured', 'goal', ''];

export function terminalTable(results: readonly Result[], colour: boolean): string {
  const rows = results.map((result): readonly Cell[] => {
    const cells = cellsOf(result);
    const style = result.measured && result.met !== false ? 'good' : 'bad';
    return cells.map((text, at) => (at === cells.length - 1 ? { text, style } : { text }));
  });
  const limits = results.filter(({ met, limit }) => met === false && limit !== undefined);
  return [layoutTable(HEAD, rows, colour), ...limits.map(({ name, limit }) => `\n${name}: ${limit}`)].join(
    '\n',
  );
}

/** GitHub's kind of a table. */
export function markdownTable(results: readonly Result[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(HEAD), line(HEAD.map(() => '---')), ...results.map((result) => line(cellsOf(result)))].join(
    '\n',
  );
}

/** What limits the rows whose goal is not met, as a list; empty where there is none. */
export function markdownLimits(results: readonly Result[]): string {
  const limits = results.filter(({ met, limit }) => met === false && limit !== undefined);
  return limits.map(({ job, limit }) => `- *${job}*: ${limit}`).join('\n');
}

function cellsOf({ job, against, unit, goal, measured, met }: Result): readonly string[] {
  const said = met === undefined ? '' : met ? 'met' : 'not met';
  return [
    job,
    against ?? '–',
    measured?.ours ?? '',
    measured?.peer ?? '',
    measured ? `${figure(measured.median, unit)}${band(measured, unit)}` : 'failed',
    goal ? goalText(goal, unit) : '–',
    measured ? said : 'failed',
  ];
}

function band({ least, most, values }: NonNullable<Result['measured']>, unit: Unit): string {
  if (values.length < 2) return '';
  return ` (${figure(least, unit, false)}–${figure(most, unit, false)})`;
}

export function goalText(goal: Goal, unit: Unit): string {
  return 'atLeast' in goal ? `≥ ${figure(goal.atLeast, unit)}` : `≤ ${figure(goal.atMost, unit)}`;
}

/** Three digits that count, with the unit: `1.62 times`, `0.118 s`, `20,400/s`. */
export function figure(value: number, unit: Unit, named = true): string {
  const text =
    value >= 100
      ? Math.round(value).toLocaleString('en')
      : value === 0
        ? '0'
        : Number(value.toPrecision(3)).toString();
  if (!named) return text;
  return unit === 'times' ? `${text}×` : unit.startsWith('/') ? `${text}${unit}` : `${text} ${unit}`;
}
