import type { Command } from 'commander';
import { CLIENT_SUMMARY } from '../../conformance/client-names.ts';
import { COLUMNS, type Column } from '../../conformance/tamper/matrix-columns.ts';
import type { MatrixCell, MatrixRow, TamperResult } from '../../conformance/tamper.ts';
import { act, folder, newCommand } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { SUMMARIES } from '../summaries.ts';
import type { Cell } from '../table.ts';
import type { Terminal } from '../terminal.ts';

interface Options {
  readonly keys: string;
  readonly anchors?: string;
  readonly attack?: string;
}

export function tamperCommand(): Command {
  return newCommand('tamper', SUMMARIES.tamper, 'bootseal tamper out/netboot --keys keys')
    .argument('<tree>', 'a sealed tree; it is copied, never touched', folder)
    .requiredOption('--keys <dir>', 'the folder that "bootseal init" made and that sealed the tree', folder)
    .option('--anchors <dir>', 'what clients start from; default: those of the keys', folder)
    .option('--attack <name>', 'only attacks whose name holds this')
    .action(
      act<Options>(async ({ terminal, now }, { keys, anchors, attack }, tree = '') => {
        const { tamper } = await import('../../conformance/tamper.ts');
        let bar: ReturnType<Terminal['progress']> | undefined;
        const result = await interruptible((stop) =>
          tamper({
            tree,
            keys,
            now,
            ...(anchors === undefined ? {} : { anchors }),
            ...(attack === undefined ? {} : { attack }),
            onProgress: stop,
            onRow: (_, done, all) => {
              bar ??= terminal.progress(`trying ${attacks(all)}`, all, String);
              bar.update(done);
            },
          }),
        ).finally(() => bar?.stop());
        terminal.json({ ...result, holds: result.deviations.length === 0 });
        showMatrix(terminal, result);
        return result.deviations.length === 0 ? EXIT.ok : EXIT.refused;
      }),
    );
}

const HEADINGS: Readonly<Record<Column, string>> = {
  ipxe: 'iPXE',
  'ipxe-efi': 'iPXE UEFI',
  grub: 'GRUB',
  archiso: 'archiso',
  manifest: 'manifest',
  tree: 'tree',
  snapshot: 'snapshot',
};

function explained(column: Column): string {
  if (column === 'tree')
    return 'what verify, serve and publish ask of a tree: every seal, every digest, the linter, the command lines';
  if (column === 'snapshot') return 'whoever reads the snapshot of a channel';
  return CLIENT_SUMMARY[column];
}

function showMatrix(terminal: Terminal, { release, rows, deviations }: TamperResult): void {
  const columns = COLUMNS.filter((column) => rows.some(({ cells }) => cells[column]));
  const notes = new Map<string, number>();
  const noted = (why: string): number => {
    const number = notes.get(why) ?? notes.size + 1;
    notes.set(why, number);
    return number;
  };
  terminal.table(
    ['attack', ...columns.map((column) => HEADINGS[column])],
    rows.map(({ attack, cells }) => [
      { text: attack },
      ...columns.map((column) => shown(cells[column], noted)),
    ]),
  );
  terminal.print();
  for (const column of columns) terminal.print(`${HEADINGS[column].padEnd(9)}  ${explained(column)}.`, 'dim');
  for (const [why, number] of notes) terminal.print(`(${number}) ${why}.`, 'dim');
  terminal.print();
  for (const { attack, column, deviation } of deviations)
    terminal.print(`${attack}, ${HEADINGS[column]}: ${deviation}`, 'bad');
  const { refused, missed } = count(rows);
  const tally = `${attacks(rows.length)} on ${release}: ${refused} refusals`;
  if (deviations.length > 0) {
    const cells = deviations.length === 1 ? '1 cell is' : `${deviations.length} cells are`;
    terminal.refused(`REFUSED: ${tally}; ${cells} not as they must be.`);
  } else {
    terminal.print(
      `HELD: ${tally}, each for its own reason; ${missed} cells that cannot catch it, as said above.`,
      'good',
    );
  }
}

function attacks(count: number): string {
  return count === 1 ? '1 attack' : `${count} attacks`;
}

function shown(cell: MatrixCell | undefined, noted: (why: string) => number): Cell {
  if (!cell) return { text: '–', style: 'dim' };
  const mark = cell.deviation === undefined ? '' : '!';
  if (cell.outcome === 'refused') return { text: `${cell.code}${mark}`, style: mark ? 'bad' : 'bold' };
  if (cell.outcome === 'verified') return { text: 'verified', style: 'good' };
  if (cell.outcome === 'crashed') return { text: `crashed${mark}`, style: 'bad' };
  const note = cell.why === undefined ? mark : ` (${noted(cell.why)})`;
  return { text: `not caught${note}`, style: mark ? 'bad' : 'dim' };
}

function count(rows: readonly MatrixRow[]): { refused: number; missed: number } {
  const cells = rows.flatMap((row) => Object.values(row.cells));
  return {
    refused: cells.filter(({ outcome }) => outcome === 'refused').length,
    missed: cells.filter(({ outcome }) => outcome === 'not-caught').length,
  };
}
