/** Something to be found on a console: text that a line holds, or a pattern. */
export type Milestone = string | RegExp;

/** Sequences that begin with ESC (ECMA-48): control sequences, operating system commands, and short ones. */
const ESCAPE = /\x1b\[([0-9;?=]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-Zc\\^-~]/g;
const UNFINISHED = /\x1b(?:\[[0-9;?=]*[ -/]*|\][^\x07\x1b]*)?$/;

/** Columns of the screens that firmware and boot loaders paint. */
const WIDTH = 80;

/**
 * A serial console as plain text. Firmware and loaders paint a screen with cursor movements: a jump to where
 * the text already ends is nothing, any other the end of a line; colours and the like vanish. The screen's
 * own breaks after its last column are undone, so that a sentence can be searched for.
 */
export class ConsoleText {
  #text = '';
  #pending = '';
  /** Where the cursor was put since the last character; SeaBIOS moves it twice to get nowhere. */
  #jumped: number | undefined;

  /** Everything so far, lines ended by `\n`; the last may be incomplete. */
  get text(): string {
    return this.#text;
  }

  push(piece: string): void {
    const raw = this.#pending + piece;
    const cut = UNFINISHED.exec(raw)?.index ?? raw.length;
    this.#pending = raw.slice(cut);
    let at = 0;
    for (const match of raw.slice(0, cut).matchAll(ESCAPE)) {
      this.#print(raw.slice(at, match.index));
      at = match.index + match[0].length;
      if (match[2] === 'H' || match[2] === 'f') this.#jumped = Number(match[1]?.split(';')[1] ?? 1);
    }
    this.#print(raw.slice(at, cut));
  }

  get #column(): number {
    return this.#text.length - (this.#text.lastIndexOf('\n') + 1);
  }

  #print(raw: string): void {
    const pieces = raw.replace(/[\0-\x09\x0b\x0c\x0e-\x1f\x7f]/g, '').split(/([\r\n]+)/);
    for (const piece of pieces) {
      if (piece === '') continue;
      if (this.#jumped !== undefined && this.#jumped !== (this.#column % WIDTH) + 1) this.#endLine();
      this.#jumped = undefined;
      if (/^[\r\n]/.test(piece)) this.#endLine();
      else this.#text += piece;
    }
  }

  #endLine(): void {
    const column = this.#column;
    if (column === 0 || column % WIDTH === 0) return;
    this.#text += '\n';
  }
}

/**
 * Where the milestone first ends at or after `from`; -1 where it does not occur. It is found also where the screen broke
 * it: a firmware that is busy now and then moves the cursor in the middle of a word.
 */
export function findMilestone(text: string, milestone: Milestone, from = 0): number {
  const source = typeof milestone === 'string' ? asPattern(milestone) : milestone.source;
  const flags = typeof milestone === 'string' ? '' : milestone.flags.replace(/[gy]/g, '');
  const match = new RegExp(acrossBreaks(source), flags).exec(text.slice(from));
  return match === null ? -1 : from + match.index + match[0].length;
}

/** The source of a pattern that finds just this text. */
function asPattern(text: string): string {
  return text.replace(/[^\w ]/g, '\\$&');
}

/** What opens a group; a character, or a class of them, and how often. Any other sign stays as it is, a dot among them. */
const ATOM = /\(\?[:=!<]+|(\\.|\[(?:\\.|[^\]\\])*\]|[^\\[\](){}|*+?^$.])((?:[*+?]|\{[\d,]+\})\??)?/g;

/** The source of a pattern that finds what another does also where the screen broke it after any of its characters. */
function acrossBreaks(source: string): string {
  return source.replace(ATOM, (all, atom?: string, times = '') =>
    atom === undefined ? all : `(?:${atom}\\n?)${times}`,
  );
}

/** Throws, with the console's end, unless every milestone occurs, each after the one before. */
export function expectMilestones(log: string, milestones: readonly Milestone[]): void {
  let from = 0;
  for (const milestone of milestones) {
    const found = findMilestone(log, milestone, from);
    if (found === -1) throw new Error(`the console never showed ${shown(milestone)}${tail(log)}`);
    from = found;
  }
}

/** Throws where one of these occurs anywhere: what a refused boot must never show. */
export function expectAbsent(log: string, milestones: readonly Milestone[]): void {
  for (const milestone of milestones) {
    if (findMilestone(log, milestone) !== -1) {
      throw new Error(`the console showed ${shown(milestone)}, which it must not${tail(log)}`);
    }
  }
}

/** The last lines of a console, for an Error's message. */
export function tail(log: string, lines = 40): string {
  return `; its last lines:\n${log
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-lines)
    .join('\n')}`;
}

export function shown(milestone: Milestone): string {
  return typeof milestone === 'string' ? `“${milestone}”` : String(milestone);
}
