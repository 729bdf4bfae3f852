import { rm } from 'node:fs/promises';
import type { RefusalCode } from '../../errors/refusal.ts';
import { Refusal } from '../../errors/refusal.ts';
import { CLIENTS, type ClientName } from '../client-names.ts';
import type { Attack, Expectation, Staged } from './attack.ts';
import type { Columns, Said } from './columns.ts';
import { COLUMNS, type Column } from './matrix-columns.ts';
import type { TamperSite } from './site.ts';

/** One column's answer to one attack. */
export interface MatrixCell {
  /** `not-caught`: it read what was changed, and went on. */
  readonly outcome: 'refused' | 'verified' | 'not-caught' | 'crashed';
  readonly code?: RefusalCode;
  readonly message?: string;
  /** Why this column cannot catch it. */
  readonly why?: string;
  /** What is wrong with this cell; absent: it is as it must be. */
  readonly deviation?: string;
}

export interface MatrixRow {
  readonly attack: string;
  readonly tuf: Attack['tuf'];
  readonly cells: Readonly<Partial<Record<Column, MatrixCell>>>;
}

/** Runs attacks one after the other, each against a release that is whole again. */
export class Matrix {
  readonly #site: TamperSite;
  readonly #columns: Columns;
  /** What each client asks for while nothing is wrong. */
  readonly #reads = new Map<Column, { all: ReadonlySet<string>; own: ReadonlySet<string> }>();

  /** The columns that there are for this release. */
  #columnsAsked: readonly Column[] = COLUMNS;

  constructor(site: TamperSite, columns: Columns) {
    this.#site = site;
    this.#columns = columns;
  }

  /** Nothing can be learned from a release that is refused untouched. Throws that refusal. */
  async begin(): Promise<void> {
    const clients = await this.#columns.clients();
    this.#columnsAsked = COLUMNS.filter(
      (column) => clients.includes(column as ClientName) || !CLIENTS.includes(column as ClientName),
    );
    // Whoever reads a release must verify it while nobody has touched it.
    const said = await this.#columns.ask([...clients, 'tree'], {});
    for (const [column, answer] of said) {
      if (answer.kind === 'verified') continue;
      const code = answer.kind === 'refused' ? answer.code : 'no-verdict';
      throw new Refusal(
        code,
        `Before any attack, ${column} refuses ${this.#site.release}: ${answer.message}`,
        {
          column,
        },
      );
    }
    for (const client of clients) this.#reads.set(client, await this.#columns.reads(client));
  }

  async row(attack: Attack): Promise<MatrixRow> {
    const { copy } = this.#site;
    try {
      const staged = await attack.stage(this.#site);
      const columns = this.#columnsAsked.filter((column) => attack.expect[column] !== undefined);
      // A client that reads the same bytes says the same: only those are asked that could say anything else.
      const asked = columns.filter((column) => this.#touched('all', column, staged));
      const said = await this.#columns.ask(asked, staged);
      const cells: Partial<Record<Column, MatrixCell>> = {};
      for (const column of columns) {
        const expectation = attack.expect[column] as Expectation;
        const answer = said.get(column) ?? { kind: 'verified' };
        cells[column] = judge(expectation, answer, this.#touched('own', column, staged));
      }
      if (staged.tree !== undefined && staged.keep !== true) await rm(staged.tree, { recursive: true });
      return { attack: attack.name, tuf: attack.tuf, cells };
    } finally {
      await copy.restore();
    }
  }

  #touched(which: 'all' | 'own', column: Column, { keep: _, also: __, ...staged }: Staged): boolean {
    const reads = this.#reads.get(column);
    // The tree's judge reads everything, and knows nothing of transports and command lines.
    if (!reads) return true;
    const { words, initrds, endless, treePolicy: ___, ...elsewhere } = staged;
    if (Object.keys(elsewhere).length > 0 || ((words || initrds) && column === 'archiso')) return true;
    const changed = [...this.#site.copy.changed, ...(endless === undefined ? [] : [endless])];
    return changed.some((path) => reads[which].has(path));
  }
}

/** Holds what a column said against what it must say. Anything but a named refusal or a clear yes deviates. */
export function judge(expectation: Expectation, said: Said, touched: boolean): MatrixCell {
  if (said.kind === 'crashed') {
    const deviation = `it broke down: ${said.message}`;
    return { outcome: 'crashed', message: said.message, deviation };
  }
  if (said.kind === 'refused') {
    const { code, message } = said;
    const cell = { outcome: 'refused', code, message } as const;
    switch (expectation.kind) {
      case 'must':
        return expectation.codes.includes(code)
          ? cell
          : { ...cell, deviation: `it must refuse with ${expectation.codes.join(' or ')}: ${message}` };
      case 'misses':
        return expectation.or.includes(code)
          ? cell
          : { ...cell, deviation: `it should not be able to tell: ${message}` };
      case 'untouched':
        return { ...cell, deviation: `it refuses what nobody touched: ${message}` };
    }
  }
  if (expectation.kind === 'must') {
    const deviation = `it must refuse with ${expectation.codes.join(' or ')}, and did not`;
    return { outcome: 'not-caught', deviation };
  }
  // Green only where nothing it reads was touched, whatever the table of attacks says.
  if (!touched) return { outcome: 'verified' };
  if (expectation.kind === 'misses') return { outcome: 'not-caught', why: expectation.why };
  return { outcome: 'not-caught', deviation: 'it read what was changed, and went on' };
}
