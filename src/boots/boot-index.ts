import { REFUSAL_CODES, type RefusalCode } from '../errors/refusal.ts';
import { TRUST_LEVELS, type TrustLevel } from '../release/trust-level.ts';
import { BOOT_OUTCOMES, type BootOutcome, isFailure } from './boot-outcome.ts';
import type { BootQuery } from './boot-query.ts';
import { bootId, decodeBootId, type ReceiptHead, STAGES, type Stage } from './receipt.ts';
import type { Place } from './segments.ts';

const TRUST = Object.keys(TRUST_LEVELS) as TrustLevel[];
const NONE = 0xffffffff;
const FIRST_ROWS = 1024;

/** How many boots there were. */
export interface BootCounts {
  readonly total: number;
  readonly byOutcome: Readonly<Record<BootOutcome, number>>;
  /** Those that somebody has to look at, by what is wrong; most first. */
  readonly failures: readonly FailureGroup[];
}

export interface FailureGroup {
  readonly outcome: BootOutcome;
  readonly stage: Stage;
  readonly code?: RefusalCode;
  readonly count: number;
  /** Machines, as far as they said who they are. */
  readonly machines: number;
  /** The last of them: `Receipt.boot`. */
  readonly last: string;
  /** Milliseconds since 1970, of the last one's beginning. */
  readonly lastBegan: number;
}

/**
 * What is asked of a million receipts, in columns: forty bytes a boot, and no object. A line of the segments tells the
 * rest. A boot that is told again keeps its row.
 */
export class BootIndex {
  #size = 0;
  #began = new Float64Array(FIRST_ROWS);
  #random = new Uint32Array(FIRST_ROWS);
  #machine = new Uint32Array(FIRST_ROWS);
  #release = new Uint32Array(FIRST_ROWS);
  /** The row before this one of the same machine. */
  #previous = new Uint32Array(FIRST_ROWS);
  #segment = new Uint32Array(FIRST_ROWS);
  #offset = new Uint32Array(FIRST_ROWS);
  #length = new Uint16Array(FIRST_ROWS);
  #outcome = new Uint8Array(FIRST_ROWS);
  #stage = new Uint8Array(FIRST_ROWS);
  #trust = new Uint8Array(FIRST_ROWS);
  #code = new Uint8Array(FIRST_ROWS);
  #machines = new Names();
  #releases = new Names();
  readonly #segments = new Names();
  /** By number of a machine: its newest row. */
  #newest: number[] = [];

  /** Boots. */
  get size(): number {
    return this.#size;
  }

  /** A boot, or what is known of it now. */
  put(head: ReceiptHead, place: Place): void {
    const { random } = decodeBootId(head.boot) ?? { random: 0 };
    const machine = this.#machines.number(head.machine);
    const row = this.#find(head.began, random, machine) ?? this.#add(head.began, random, machine);
    this.#set(row, head, place);
  }

  /** What is known of a boot now whose newest line is still to be written. */
  retell(head: ReceiptHead): void {
    const { random } = decodeBootId(head.boot) ?? { random: 0 };
    const row = this.#find(head.began, random, this.#machines.number(head.machine));
    if (row !== undefined) this.#set(row, head, this.#placeOf(row));
  }

  #set(row: number, { machine, release, outcome, stage, trust, code }: ReceiptHead, place: Place): void {
    const number = this.#machines.number(machine);
    if (this.#machine[row] !== number) this.#rename(row, number);
    this.#release[row] = release === undefined ? NONE : this.#releases.number(release);
    this.#segment[row] = this.#segments.number(place.segment);
    this.#offset[row] = place.offset;
    this.#length[row] = place.length;
    this.#outcome[row] = BOOT_OUTCOMES.indexOf(outcome);
    this.#stage[row] = STAGES.indexOf(stage);
    this.#trust[row] = trust === undefined ? 255 : TRUST.indexOf(trust);
    this.#code[row] = code === undefined ? 255 : REFUSAL_CODES.indexOf(code);
  }

  /** Where the line of a boot stands; undefined: there is none. */
  place(boot: string): Place | undefined {
    const id = decodeBootId(boot);
    if (!id) return undefined;
    for (let row = this.#size - 1; row >= 0; row -= 1)
      if (this.#began[row] === id.began && this.#random[row] === id.random) return this.#placeOf(row);
    return undefined;
  }

  /** Rows that fit, the newest first, at most so many. @param before the id of a boot: only older ones. */
  find(
    query: BootQuery,
    most: number,
    before?: string,
  ): readonly { readonly boot: string; readonly place: Place }[] {
    const fits = this.#fitting(query);
    const from = before === undefined ? undefined : decodeBootId(before);
    if (before !== undefined && !from) return [];
    const { began: endBegan, random: endRandom } = from ?? { began: Number.POSITIVE_INFINITY, random: 0 };
    const isAfter = (row: number, began: number, random: number): boolean => {
      const own = this.#began[row] ?? 0;
      return own > began || (own === began && (this.#random[row] ?? 0) >= random);
    };
    // Servers write apart from each other, and a boot is written when it ends: the order of rows is nearly that of boots.
    const newest: number[] = [];
    for (const row of this.#candidates(query)) {
      if (isAfter(row, endBegan, endRandom) || !fits(row)) continue;
      const last = newest.at(-1);
      const isOlder = (one: number) => isAfter(one, this.#began[row] ?? 0, this.#random[row] ?? 0);
      if (newest.length >= most && last !== undefined && isOlder(last)) continue;
      const at = newest.findLastIndex(isOlder) + 1;
      newest.splice(at, 0, row);
      if (newest.length > most) newest.pop();
    }
    return newest.map((row) => ({ boot: this.#idOf(row), place: this.#placeOf(row) }));
  }

  /** How many fit, by what came of them. */
  count(query: BootQuery): BootCounts {
    const fits = this.#fitting(query);
    const byOutcome = Object.fromEntries(BOOT_OUTCOMES.map((each) => [each, 0])) as Record<
      BootOutcome,
      number
    >;
    const groups = new Map<number, { count: number; machines: Set<number>; last: number }>();
    let total = 0;
    for (const row of this.#candidates(query)) {
      if (!fits(row)) continue;
      total += 1;
      const outcome = BOOT_OUTCOMES[this.#outcome[row] ?? 0] ?? 'lost';
      byOutcome[outcome] += 1;
      if (!isFailure(outcome)) continue;
      const stage = this.#stage[row] ?? 0;
      const key = ((this.#outcome[row] ?? 0) << 16) | (stage << 8) | (this.#code[row] ?? 255);
      const group = groups.get(key) ?? { count: 0, machines: new Set<number>(), last: row };
      group.count += 1;
      group.machines.add(this.#machine[row] ?? 0);
      if ((this.#began[row] ?? 0) >= (this.#began[group.last] ?? 0)) group.last = row;
      groups.set(key, group);
    }
    const failures = [...groups].map(([key, { count, machines, last }]) => {
      const code = REFUSAL_CODES[key & 0xff];
      return {
        outcome: BOOT_OUTCOMES[key >> 16] ?? 'lost',
        stage: STAGES[(key >> 8) & 0xff] ?? 'dhcp',
        ...(code === undefined ? {} : { code }),
        count,
        machines: machines.size,
        last: this.#idOf(last),
        lastBegan: this.#began[last] ?? 0,
      };
    });
    failures.sort((one, other) => other.count - one.count || other.lastBegan - one.lastBegan);
    return { total, byOutcome, failures };
  }

  /** Machines that were ever seen, with the place of their last boot. */
  machines(): readonly { readonly machine: string; readonly place: Place }[] {
    return this.#newest.flatMap((row, number) => {
      const machine = this.#machines.name(number);
      return machine === '' || row === undefined || row === NONE
        ? []
        : [{ machine, place: this.#placeOf(row) }];
    });
  }

  /** Boots that nobody has told the end of. */
  running(): readonly { readonly boot: string; readonly place: Place }[] {
    const running = BOOT_OUTCOMES.indexOf('running');
    const found = [];
    for (let row = 0; row < this.#size; row += 1)
      if (this.#outcome[row] === running) found.push({ boot: this.#idOf(row), place: this.#placeOf(row) });
    return found;
  }

  /** Leaves out what stood in segments that are gone. */
  dropSegments(segments: ReadonlySet<string>): void {
    const gone = new Set([...segments].map((name) => this.#segments.number(name)));
    const kept: number[] = [];
    for (let row = 0; row < this.#size; row += 1) if (!gone.has(this.#segment[row] ?? 0)) kept.push(row);
    if (kept.length === this.#size) return;
    for (const column of this.#columns())
      for (const [to, from] of kept.entries()) column[to] = column[from] ?? 0;
    this.#size = kept.length;
    this.#forgetNames();
    this.#newest = [];
    for (let row = 0; row < this.#size; row += 1) this.#link(row, this.#machine[row] ?? 0);
  }

  /** Names that no row has any more: a machine may call itself what it likes, and a server runs for years. */
  #forgetNames(): void {
    const [machines, releases] = [new Names(), new Names()];
    for (let row = 0; row < this.#size; row += 1) {
      this.#machine[row] = machines.number(this.#machines.name(this.#machine[row] ?? 0));
      const release = this.#release[row] ?? NONE;
      if (release !== NONE) this.#release[row] = releases.number(this.#releases.name(release));
    }
    this.#machines = machines;
    this.#releases = releases;
  }

  /** Names of machines and releases that are held. */
  get names(): number {
    return this.#machines.size + this.#releases.size;
  }

  #candidates({ machine }: BootQuery): Iterable<number> {
    if (machine === undefined) return downFrom(this.#size);
    const number = this.#machines.find(machine);
    return number === undefined ? [] : this.#chain(number);
  }

  *#chain(machine: number): Iterable<number> {
    for (let row = this.#newest[machine] ?? NONE; row !== NONE; row = this.#previous[row] ?? NONE) yield row;
  }

  #fitting({
    failed,
    outcome,
    stage,
    code,
    release,
    since = 0,
    until = Number.POSITIVE_INFINITY,
  }: BootQuery) {
    const failures = BOOT_OUTCOMES.map(isFailure);
    const wantedOutcome = outcome === undefined ? -1 : BOOT_OUTCOMES.indexOf(outcome);
    const wantedStage = stage === undefined ? -1 : STAGES.indexOf(stage);
    const wantedCode = code === undefined ? -1 : REFUSAL_CODES.indexOf(code);
    const wantedRelease = release === undefined ? -1 : (this.#releases.find(release) ?? -2);
    return (row: number): boolean => {
      const began = this.#began[row] ?? 0;
      if (began < since || began >= until) return false;
      if (failed && !failures[this.#outcome[row] ?? 0]) return false;
      if (wantedOutcome !== -1 && this.#outcome[row] !== wantedOutcome) return false;
      if (wantedStage !== -1 && this.#stage[row] !== wantedStage) return false;
      if (wantedCode !== -1 && this.#code[row] !== wantedCode) return false;
      return wantedRelease === -1 || this.#release[row] === wantedRelease;
    };
  }

  /** The row of a boot that was told before. It is among the last of its machine, or of those that did not say theirs. */
  #find(began: number, random: number, machine: number): number | undefined {
    for (const number of new Set([machine, this.#machines.number('')])) {
      let steps = 0;
      for (const row of this.#chain(number)) {
        if (this.#began[row] === began && this.#random[row] === random) return row;
        steps += 1;
        if (steps > LOOK_BACK || (this.#began[row] ?? 0) < began - LOOK_BACK_MS) break;
      }
    }
    return undefined;
  }

  #add(began: number, random: number, machine: number): number {
    if (this.#size === this.#began.length) this.#grow();
    const row = this.#size;
    this.#size += 1;
    this.#began[row] = began;
    this.#random[row] = random;
    this.#machine[row] = machine;
    this.#link(row, machine);
    return row;
  }

  #link(row: number, machine: number): void {
    this.#previous[row] = this.#newest[machine] ?? NONE;
    this.#newest[machine] = row;
  }

  /** It is known now whose it was. */
  #rename(row: number, machine: number): void {
    const before = this.#machine[row] ?? 0;
    if (this.#newest[before] === row) this.#newest[before] = this.#previous[row] ?? NONE;
    else {
      for (const each of this.#chain(before)) {
        if (this.#previous[each] !== row) continue;
        this.#previous[each] = this.#previous[row] ?? NONE;
        break;
      }
    }
    this.#machine[row] = machine;
    this.#link(row, machine);
  }

  #idOf(row: number): string {
    return bootId(this.#began[row] ?? 0, this.#random[row] ?? 0);
  }

  #placeOf(row: number): Place {
    const segment = this.#segments.name(this.#segment[row] ?? 0);
    return { segment, offset: this.#offset[row] ?? 0, length: this.#length[row] ?? 0 };
  }

  #columns() {
    return [
      ...[
        this.#began,
        this.#random,
        this.#machine,
        this.#release,
        this.#previous,
        this.#segment,
        this.#offset,
      ],
      ...[this.#length, this.#outcome, this.#stage, this.#trust, this.#code],
    ];
  }

  #grow(): void {
    const rows = this.#began.length * 2;
    this.#began = grown(this.#began, new Float64Array(rows));
    this.#random = grown(this.#random, new Uint32Array(rows));
    this.#machine = grown(this.#machine, new Uint32Array(rows));
    this.#release = grown(this.#release, new Uint32Array(rows));
    this.#previous = grown(this.#previous, new Uint32Array(rows));
    this.#segment = grown(this.#segment, new Uint32Array(rows));
    this.#offset = grown(this.#offset, new Uint32Array(rows));
    this.#length = grown(this.#length, new Uint16Array(rows));
    this.#outcome = grown(this.#outcome, new Uint8Array(rows));
    this.#stage = grown(this.#stage, new Uint8Array(rows));
    this.#trust = grown(this.#trust, new Uint8Array(rows));
    this.#code = grown(this.#code, new Uint8Array(rows));
  }
}

/** Rows of one machine that are looked at for one that is told again, and how much older than it they may be. */
const LOOK_BACK = 1024;
const LOOK_BACK_MS = 86_400_000;

function grown<T extends { set(array: T): void }>(before: T, after: T): T {
  after.set(before);
  return after;
}

/** From the last one on. */
function* downFrom(size: number): Iterable<number> {
  for (let row = size - 1; row >= 0; row -= 1) yield row;
}

/** Names, each once, by number. */
class Names {
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = [];

  number(name: string): number {
    const found = this.#numbers.get(name);
    if (found !== undefined) return found;
    // Out of the line that it stood in, which else would be held as a whole.
    const own = Buffer.from(name, 'latin1').toString('latin1');
    this.#numbers.set(own, this.#names.length);
    return this.#names.push(own) - 1;
  }

  get size(): number {
    return this.#names.length;
  }

  find(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  name(number: number): string {
    return this.#names[number] ?? '';
  }
}
