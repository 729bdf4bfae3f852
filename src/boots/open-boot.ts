import type { RefusalCode } from '../errors/refusal.ts';
import type { RootMode } from '../formats/records/policy-floor.ts';
import type { TrustLevel } from '../release/trust-level.ts';
import type { BootedRelease } from './boot-files.ts';
import type { BootOutcome } from './boot-outcome.ts';
import {
  bootId,
  decodeBootId,
  JOINS,
  type Join,
  MOST_ADDRESSES,
  MOST_LINES,
  MOST_MESSAGE,
  MOST_STAGES,
  type Receipt,
  type ReceiptHead,
  type Route,
  STAGES,
  type Stage,
  type StageRecord,
} from './receipt.ts';

/** A wall clock and a monotonic one, read together. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly wall: number;
  /** Milliseconds of a monotonic clock. */
  readonly mono: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** How far a stage is: 0 is the first. */
export function rankOf(stage: Stage): number {
  return STAGES.indexOf(stage);
}

/**
 * A boot that may still go on. Its times are those of the wall clock when it began, carried on by the monotonic one: a
 * clock that jumps turns no stage round.
 */
export class OpenBoot {
  readonly id: string;
  readonly began: Moment;
  stage: Stage;
  outcome: BootOutcome = 'running';
  machine: string;
  uuid: string | undefined;
  arch: string | undefined;
  trust: TrustLevel | undefined;
  code: RefusalCode | undefined;
  message: string | undefined;
  by: Receipt['by'];
  /** What was reported of it came from where its machine is not: what is seen or said of it later counts more. */
  doubted = false;
  release: BootedRelease | undefined;
  route: Route = 'unknown';
  loader: string | undefined;
  root: RootMode | undefined;
  once: string | undefined;
  shared = false;
  incomplete: string | undefined;
  /** Answers that some loaders take for "not there" and others for the end: told if nothing follows. */
  pending: { readonly code: RefusalCode; readonly message: string } | undefined;
  /** What left whole: `BootFile.path`s. */
  readonly whole = new Set<string>();
  /** Transfers and connections that go on. */
  active = 0;
  /** When it was heard of last, by the monotonic clock. */
  heard: number;
  ended: number | undefined;
  quiet = false;
  /** Whether a line of it was written. */
  written = false;
  /** How many, and by the monotonic clock when the next one may be written. */
  linesWritten = 0;
  nextLine = Number.NEGATIVE_INFINITY;
  /** Another boot has taken it in: nothing more is to be told of it. */
  absorbed = false;
  readonly #addresses: string[] = [];
  #stages: Mutable<StageRecord>[] = [];
  readonly #lines: string[] = [];

  /** @param random 32 bits. */
  constructor(stage: Stage, machine: string, at: Moment, random: number) {
    this.id = bootId(at.wall, random);
    this.began = at;
    this.stage = stage;
    this.machine = machine;
    this.heard = at.mono;
  }

  /** One that a server had in hand when it ended, so that another may go on with it. */
  static of(receipt: Receipt, at: Moment): OpenBoot {
    const { random = 0 } = decodeBootId(receipt.boot) ?? {};
    const mono = at.mono - Math.max(0, at.wall - receipt.began);
    const boot = new OpenBoot(receipt.stage, receipt.machine, { wall: receipt.began, mono }, random);
    const { uuid, arch, trust, code, message, by, route, loader, root, once, shared, incomplete } = receipt;
    Object.assign(boot, { uuid, arch, trust, code, message, by, route, loader, root, once, incomplete });
    boot.shared = shared === true;
    if (receipt.release !== undefined)
      boot.release = {
        ...{ release: receipt.release, needs: [], reports: true },
        ...(receipt.rootHash === undefined ? {} : { rootHash: receipt.rootHash }),
      };
    boot.outcome = receipt.outcome;
    boot.heard = at.mono;
    boot.written = true;
    for (const address of receipt.addresses) boot.addAddress(address);
    boot.#stages = receipt.stages.map((each) => ({ ...each }));
    boot.#lines.push(...receipt.lines);
    return boot;
  }

  get addresses(): readonly string[] {
    return this.#addresses;
  }

  get stages(): readonly StageRecord[] {
    return this.#stages;
  }

  /** The wall clock's time of a moment, as this boot counts it. */
  at(mono: number): number {
    return Math.round(this.began.wall + Math.max(0, mono - this.began.mono));
  }

  addAddress(address: string): boolean {
    if (address === '' || address === '0.0.0.0' || this.#addresses.includes(address)) return false;
    this.#addresses.push(address);
    if (this.#addresses.length > MOST_ADDRESSES) this.#addresses.shift();
    return true;
  }

  addLine(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > MOST_LINES) this.#lines.shift();
  }

  /** It came to a stage, or asked for more of one. @returns milliseconds since the last of the stage before, where it moved on. */
  enter(stage: Stage, mono: number, join: Join, what: string): { from: Stage; ms: number } | undefined {
    const moved =
      rankOf(stage) > rankOf(this.stage) ? { from: this.stage, ms: mono - this.heard } : undefined;
    this.hear(mono);
    if (moved) this.stage = stage;
    const last = this.#stages.findLast((each) => each.stage === stage);
    if (last) {
      last.what = what;
      delete last.end;
      delete last.outcome;
      if (rankOfJoin(join) < rankOfJoin(last.join)) last.join = join;
    } else {
      this.#stages.push({ stage, begin: this.at(mono), bytes: 0, join, what });
      if (this.#stages.length > MOST_STAGES) this.#stages.shift();
    }
    return moved;
  }

  /** Something of a stage ended. */
  leave(stage: Stage, mono: number, bytes: number, outcome: StageRecord['outcome'], what: string): void {
    this.hear(mono);
    const last = this.#stages.findLast((each) => each.stage === stage);
    if (!last) return;
    last.bytes += bytes;
    last.end = this.at(mono);
    // A probe says nothing of the file, which comes next.
    if (outcome !== undefined && !(outcome === 'probe' && last.outcome !== undefined)) last.outcome = outcome;
    last.what = what;
  }

  /** A mirror was to send so many bytes of a stage. */
  byMirror(stage: Stage, bytes: number): void {
    const last = this.#stages.findLast((each) => each.stage === stage);
    if (last) last.byMirror = (last.byMirror ?? 0) + bytes;
  }

  hear(mono: number): void {
    this.heard = mono;
    this.quiet = false;
  }

  end(outcome: BootOutcome, by: Receipt['by']): void {
    this.outcome = outcome;
    this.by = by;
    this.ended = this.heard;
    this.quiet = false;
  }

  /** What was thought to be over goes on. */
  reopen(): void {
    this.outcome = 'running';
    this.doubted = false;
    this.code = undefined;
    this.message = undefined;
    this.by = undefined;
    this.ended = undefined;
  }

  refuse(code: RefusalCode, message: string, by: Receipt['by']): void {
    this.code = code;
    this.message = message.slice(0, MOST_MESSAGE);
    this.end('refused', by);
  }

  /** Takes in what was seen of the same boot before it was known to be the same. */
  absorb(other: OpenBoot): void {
    this.#stages = [...other.#stages, ...this.#stages]
      .filter(({ stage }, index, all) => all.findIndex((each) => each.stage === stage) === index)
      .sort((one, two) => one.begin - two.begin);
    for (const address of other.#addresses) this.addAddress(address);
    for (const line of other.#lines) this.addLine(line);
    for (const path of other.whole) this.whole.add(path);
    if (rankOf(other.stage) > rankOf(this.stage)) this.stage = other.stage;
    this.active += other.active;
    if (this.machine === '') this.machine = other.machine;
    this.uuid ??= other.uuid;
    this.arch ??= other.arch;
    this.loader ??= other.loader;
    this.release ??= other.release;
    if (this.route === 'unknown') this.route = other.route;
    this.heard = Math.max(this.heard, other.heard);
    other.absorbed = true;
  }

  /** What a list says of it. */
  head(): ReceiptHead {
    const { id, began, outcome, stage, machine, trust, code, release } = this;
    const head: Mutable<ReceiptHead> = { boot: id, began: began.wall, outcome, stage, machine };
    if (trust !== undefined) head.trust = trust;
    if (code !== undefined) head.code = code;
    if (release !== undefined) head.release = release.release;
    return head;
  }

  receipt(): Receipt {
    const { release, ended, heard } = this;
    const whole: Mutable<Receipt> = {
      boot: this.id,
      began: this.began.wall,
      outcome: this.outcome,
      stage: this.stage,
      machine: this.machine,
      route: this.route,
      addresses: [...this.#addresses],
      stages: this.#stages.map((each) => ({ ...each })),
      lines: [...this.#lines],
    };
    if (ended !== undefined) whole.ended = this.at(ended);
    if (this.quiet && ended === undefined) whole.quietSince = this.at(heard);
    if (release !== undefined) whole.release = release.release;
    if (release?.rootHash !== undefined) whole.rootHash = release.rootHash;
    if (this.shared) whole.shared = true;
    const { trust, code, arch, uuid, loader, root, message, by, once, incomplete } = this;
    for (const [name, value] of Object.entries({
      trust,
      code,
      arch,
      uuid,
      loader,
      root,
      message,
      by,
      once,
      incomplete,
    }))
      if (value !== undefined) Object.assign(whole, { [name]: value });
    return whole;
  }
}

function rankOfJoin(join: Join): number {
  return JOINS.indexOf(join);
}
