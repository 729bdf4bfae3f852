import type { Fact, Facts } from '../operations/inspect.ts';
import type { Cell } from './table.ts';
import type { Terminal } from './terminal.ts';

/** Facts for people: a line each, and tables where many of a kind follow one another. */

/** Characters shown of one text: names may be as long as whoever wrote them liked. */
const LONGEST = 2100;
const LONGEST_CELL = 160;
/** Too wide for a screen; programs have it. */
const LEFT_OUT: ReadonlySet<string> = new Set(['sha512']);
/** A table of these would be wider than any screen. */
const SECTIONS: ReadonlySet<string> = new Set(['certificates', 'keys', 'signers', 'signatures']);

export function showFacts(terminal: Terminal, facts: Facts): void {
  const lines = Object.entries(facts).flatMap(([name, fact]) => {
    const text = textOf(fact);
    return text === undefined ? [] : [[label(name), text] as const];
  });
  const width = Math.max(0, ...lines.map(([name]) => name.length));
  for (const [name, text] of lines) terminal.print(`${name.padEnd(width)}  ${brief(text, LONGEST)}`);
  for (const [name, fact] of Object.entries(facts)) {
    if (typeof fact !== 'object' || textOf(fact) !== undefined) continue;
    if (!Array.isArray(fact)) showSection(terminal, label(name), fact as Facts);
    else if (SECTIONS.has(name) && Object.keys(fact[0] ?? {}).length > 5)
      for (const each of fact) showSection(terminal, singular(label(name)), each);
    else showRows(terminal, fact);
  }
}

function showSection(terminal: Terminal, title: string, facts: Facts): void {
  terminal.print();
  terminal.print(`${title}:`, 'bold');
  showFacts(terminal, facts);
}

function showRows(terminal: Terminal, rows: readonly Facts[]): void {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => !LEFT_OUT.has(name));
  const used = columns.filter((name) => rows.some((row) => textOf(row[name]) !== undefined));
  terminal.print();
  terminal.table(
    used.map(label),
    rows.map((row) => used.map((name) => cell(textOf(row[name])))),
  );
}

/** A cell of text from whoever wrote it. */
export function cell(text: string | undefined): Cell {
  return text === undefined || text === ''
    ? { text: '–', style: 'dim' }
    : { text: brief(text, LONGEST_CELL) };
}

/** One line; undefined for what takes more, and for what is not there. */
function textOf(fact: Fact): string | undefined {
  if (fact === undefined) return undefined;
  if (typeof fact === 'boolean') return fact ? 'yes' : 'no';
  if (typeof fact !== 'object') return String(fact);
  if (!Array.isArray(fact)) return undefined;
  if (fact.length === 0) return '–';
  return fact.every((each) => typeof each === 'string') ? fact.join(', ') : undefined;
}

function brief(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

/** What has a name of its own. */
const LABELS: Readonly<Record<string, string>> = {
  cmdline: 'command line',
  free: 'free words',
  fsVerityDigest: 'fs-verity digest',
  manifestSha256: 'manifest’s sha256',
  whoVerifies: 'who verifies what on the machine',
};

/** `bestBefore` as people write it. */
function label(name: string): string {
  return LABELS[name] ?? name.replace(/[A-Z]/g, (capital) => ` ${capital.toLowerCase()}`);
}

function singular(word: string): string {
  return word.replace(/s$/, '');
}
