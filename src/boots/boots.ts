import { randomBytes } from 'node:crypto';
import { Malformed } from '../errors/malformed.ts';
import type { ServerEvent } from '../release/server-event.ts';
import type { Log } from '../serve/event-log.ts';
import type { Shares } from '../serve/shares.ts';
import { Beginnings } from './beginnings.ts';
import type { BootChange, OnBoot } from './boot-change.ts';
import type { FindBootFile } from './boot-files.ts';
import { type BootCounts, BootIndex, type FailureGroup } from './boot-index.ts';
import { type BootOutcome, isFailure } from './boot-outcome.ts';
import { type BootQuery, fitsQuery } from './boot-query.ts';
import { Deadlines } from './deadlines.ts';
import { Joiner } from './joiner.ts';
import { MemoryLines, type ReceiptLines } from './memory-lines.ts';
import { type Moment, OpenBoot, rankOf } from './open-boot.ts';
import { decodeBootId, decodeReceipt, type Receipt, STAGES, type Stage } from './receipt.ts';
import { ReceiptQueue } from './receipt-queue.ts';
import { type Place, seriesOf } from './segments.ts';

export interface BootsOptions {
  readonly find: FindBootFile;
  /** The card that an address belongs to, where this server's own network says it. */
  readonly neighbour?: (address: string) => string | undefined;
  readonly shares: Shares;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly log: Log;
  /** How patient to be with a machine that is silent; 1 is usual. */
  readonly patience?: number;
  /** Where receipts are kept; default: the last ones, in memory. */
  readonly lines?: ReceiptLines;
  /** Bytes that are kept of them: in a day each share may fill a part of that. Default: as much as it likes. */
  readonly keepBytes?: number;
}

/** Milliseconds after which nobody else has a boot in hand, though its receipt says that it goes on. */
const OTHERS_MS = 86_400_000;
/** Milliseconds between two looks at what is too old. */
const COLLECT_MS = 600_000;
/** Lines after which it is looked at once, too: memory is small, and a flood is fast. */
const COLLECT_LINES = 2_000;
/** Milliseconds within which a boot that was under way when the server ended is gone on with. */
const RESUME_MS = 15 * 60_000;

/** Every boot of one server: those under way, and what is kept of those that were. */
export class Boots {
  readonly index = new BootIndex();
  readonly #options: BootsOptions;
  readonly #lines: ReceiptLines;
  readonly #joiner: Joiner;
  readonly #listeners = new Set<OnBoot>();
  /** By id: the last that was told of it. */
  readonly #told = new WeakMap<
    OpenBoot,
    { readonly outcome: BootOutcome; readonly stage: Stage | undefined }
  >();
  readonly #open = new Map<string, OpenBoot>();
  readonly #queue: ReceiptQueue;
  #history: Promise<void> = Promise.resolve();
  readonly #beginnings: Beginnings;
  #collectedAt = 0;
  #linesSince = 0;
  #notFollowed = 0;

  constructor(options: BootsOptions) {
    this.#options = options;
    this.#beginnings = new Beginnings(options.monotonic);
    this.#lines = options.lines ?? new MemoryLines();
    const { find, keepBytes, shares, monotonic, log, neighbour = () => undefined } = options;
    this.#queue = new ReceiptQueue({
      ...{ lines: this.#lines, keepBytes, shares, monotonic, log },
      onWritten: (receipt, place) => {
        this.index.put(receipt, place);
        this.#linesSince += 1;
      },
    });
    this.#joiner = new Joiner({
      find,
      neighbour,
      deadlines: new Deadlines(options.patience),
      random: () => randomBytes(4).readUInt32BE(),
      mayBegin: (remote) => this.#mayBegin(remote),
      onChange: (boot) => this.#changed(boot),
    });
  }

  /** Boots that no line was kept of, since there was no room for it. */
  get lost(): number {
    return this.#queue.lost;
  }

  /** Boots that were not followed, since too many began at once. */
  get notFollowed(): number {
    return this.#notFollowed;
  }

  /** Why receipts are not written at the moment; undefined while they are. */
  get fault(): string | undefined {
    return this.#queue.fault;
  }

  readonly observe = (event: ServerEvent): void => {
    this.#joiner.observe(event, this.#now());
  };

  /** What was written before is being read: whoever asks how a boot ended waits for that. */
  awaitHistory(read: Promise<void>): void {
    this.#history = read;
  }

  /** Told of every change. @returns how to end it. */
  subscribe(listener: OnBoot): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Other servers wrote these down: `Receipt.boot`s whose lines are in the index. One after the other: they may be thousands. */
  async told(boots: Iterable<string>): Promise<void> {
    if (this.#listeners.size === 0) return;
    for (const boot of boots) {
      if (this.#open.has(boot)) continue;
      const place = this.index.place(boot);
      const receipt = place && (await this.#read(place));
      if (receipt)
        this.#announce({ boot, outcome: receipt.outcome, receipt, entered: undefined, ended: undefined });
    }
  }

  /** Time passes. */
  tick(): void {
    const now = this.#now();
    this.#joiner.tick(now);
    // Also those of which no line was kept.
    for (const boot of this.#open.values())
      if (!this.#joiner.boots.has(boot) && !this.#queue.holds(boot)) this.#open.delete(boot.id);
    this.#queue.tick((boot) => this.#joiner.boots.has(boot));
    if (now.mono - this.#collectedAt >= COLLECT_MS || this.#linesSince >= COLLECT_LINES) {
      this.#collectedAt = now.mono;
      this.#linesSince = 0;
      void this.#collect();
    }
  }

  /** How many go on, by the stage that they came to. */
  runningAt(): Readonly<Record<Stage, number>> {
    const counts = Object.fromEntries(STAGES.map((stage) => [stage, 0])) as Record<Stage, number>;
    for (const { outcome, absorbed, stage } of this.#open.values())
      if (outcome === 'running' && !absorbed) counts[stage] += 1;
    return counts;
  }

  /** Those that go on, the last begun first. */
  running(): readonly Receipt[] {
    return [...this.#open.values()]
      .filter(({ outcome, absorbed }) => outcome === 'running' && !absorbed)
      .map((boot) => boot.receipt())
      .sort((one, other) => other.began - one.began);
  }

  /** The newest first. @param before the id of a boot: only older ones. @throws IoError */
  async find(query: BootQuery, most: number, before?: string): Promise<readonly Receipt[]> {
    const found = this.#fresh(query).filter(({ boot }) => before === undefined || isOlder(boot, before));
    for (const { boot, place } of this.index.find(query, most, before)) {
      const receipt = this.#open.get(boot)?.receipt() ?? (await this.#read(place));
      if (receipt) found.push(receipt);
    }
    return found.sort((one, other) => (isOlder(one.boot, other.boot) ? 1 : -1)).slice(0, most);
  }

  /** @throws IoError */
  async get(boot: string): Promise<Receipt | undefined> {
    const open = this.#open.get(boot);
    if (open && !open.absorbed) return open.receipt();
    const place = this.index.place(boot);
    return place && (await this.#read(place));
  }

  count(query: BootQuery): BootCounts {
    return withMore(this.index.count(query), this.#fresh(query));
  }

  /** Boots of which no line is written yet. */
  #fresh(query: BootQuery): Receipt[] {
    return [...this.#open.values()]
      .filter(({ written, absorbed }) => !written && !absorbed)
      .map((boot) => boot.receipt())
      .filter((receipt) => fitsQuery(receipt, query));
  }

  /**
   * The receipt of the next boot of a machine to end, or of one that has ended since. One that began anew has not ended: what
   * it began is waited for.
   *
   * @param since milliseconds since 1970: boots that began before do not count.
   * @param signal ends the wait: then it rejects with its reason.
   */
  async ended(machine: string, since: number, signal?: AbortSignal): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      const take = (receipt: Receipt): void => {
        const { outcome } = receipt;
        if (receipt.machine !== machine || receipt.began < since) return;
        if (outcome === 'running' || outcome === 'restarted') return;
        leave();
        resolve(receipt);
      };
      const stop = this.subscribe(({ receipt }) => take(receipt));
      const abort = (): void => {
        leave();
        reject(signal?.reason);
      };
      const leave = (): void => {
        stop();
        signal?.removeEventListener('abort', abort);
      };
      signal?.addEventListener('abort', abort);
      if (signal?.aborted) abort();
      this.#history
        .then(() => this.find({ machine, since }, 1))
        .then(([receipt]) => receipt && take(receipt), reject);
    });
  }

  /**
   * Goes on with what this server had in hand when it ended a moment ago; what is older is lost.
   *
   * @param isOwn whether this server wrote a series: what stands elsewhere others have in hand. Default: all is its own.
   */
  async resume(isOwn: (series: string) => boolean = () => true): Promise<void> {
    const now = this.#now();
    for (const { boot, place } of this.index.running()) {
      if (this.#open.has(boot)) continue;
      if (!isOwn(seriesOf(place.segment)) && now.wall - (decodeBootId(boot)?.began ?? 0) < OTHERS_MS)
        continue;
      const receipt = await this.#read(place);
      if (!receipt) continue;
      const open = OpenBoot.of(receipt, now);
      if (now.wall - receipt.began > RESUME_MS || now.wall < receipt.began) {
        open.end('lost', 'server');
        this.#told.set(open, { outcome: 'lost', stage: open.stage });
        this.#queue.add(open, true);
        this.#announce({
          ...{ boot: open.id, outcome: 'lost', receipt: open.receipt(), entered: undefined, ended: 'lost' },
        });
      } else {
        this.#told.set(open, { outcome: 'running', stage: open.stage });
        this.#open.set(open.id, open);
        this.#joiner.take(open);
      }
    }
  }

  /** Resolves when all that is known is written down, or cannot be. */
  async settled(): Promise<void> {
    await this.#queue.settled();
  }

  /** Writes what is still to be written. */
  async close(): Promise<void> {
    // How far those came that go on: whoever serves next goes on with them.
    for (const boot of this.#open.values())
      if (boot.written && boot.outcome === 'running') this.#queue.add(boot, true);
    await this.settled();
    await this.#lines.close();
  }

  #now(): Moment {
    return { wall: this.#options.clock(), mono: this.#options.monotonic() };
  }

  #mayBegin(remote: string): boolean {
    if (this.#beginnings.take(this.#options.shares.of(remote))) return true;
    this.#notFollowed += 1;
    return false;
  }

  #changed(boot: OpenBoot): void {
    const before = this.#told.get(boot);
    if (boot.absorbed) {
      this.#open.delete(boot.id);
      this.#queue.remove(boot);
      // A line of it stands in a segment: it shall not look as if it went on for ever.
      if (boot.written) {
        boot.end('restarted', 'server');
        this.#queue.add(boot, true);
      }
      return;
    }
    if (this.#joiner.boots.has(boot)) this.#open.set(boot.id, boot);
    this.#told.set(boot, { outcome: boot.outcome, stage: boot.stage });
    // Every request of every machine comes by here: a receipt is made where somebody reads it, and once.
    let made: Receipt | undefined;
    const receipt = (): Receipt => {
      made ??= boot.receipt();
      return made;
    };
    if (boot.written) this.index.retell(boot.head());
    const ended = boot.outcome !== 'running' && boot.outcome !== before?.outcome ? boot.outcome : undefined;
    const reopened = boot.outcome === 'running' && before !== undefined && before.outcome !== 'running';
    const isWorthIt = rankOf(boot.stage) >= rankOf('script');
    const isNews =
      ended !== undefined ||
      reopened ||
      (isWorthIt && !boot.written) ||
      (boot.stage !== before?.stage && boot.stage === 'userspace');
    // What is added after the end, a line of its console, bytes that left: it has time.
    if (isNews || boot.outcome !== 'running') this.#queue.add(boot, isNews);
    if (this.#listeners.size === 0) return;
    const entered = boot.stage === before?.stage ? undefined : boot.stage;
    this.#announce({
      boot: boot.id,
      outcome: boot.outcome,
      get receipt() {
        return receipt();
      },
      entered,
      ended,
    });
  }

  #announce(change: BootChange): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#options.log.error({ err: error }, 'a listener of boots failed');
      }
    }
  }

  async #collect(): Promise<void> {
    try {
      const gone = await this.#lines.collect();
      if (gone.length > 0) this.index.dropSegments(new Set(gone));
    } catch (error) {
      this.#options.log.error({ err: error }, 'old receipts cannot be removed');
    }
  }

  async #read(place: Place): Promise<Receipt | undefined> {
    const line = await this.#lines.read(place);
    if (line === undefined) return undefined;
    try {
      return decodeReceipt(line);
    } catch (error) {
      if (error instanceof Malformed) return undefined;
      throw error;
    }
  }
}

/** By time, and by the random part of those of one moment: the order of the index. */
function isOlder(boot: string, than: string): boolean {
  return boot.length === than.length ? boot < than : boot.length < than.length;
}

/** Counts, with boots that are not among them. */
function withMore({ total, byOutcome, failures }: BootCounts, more: readonly Receipt[]): BootCounts {
  const outcomes = { ...byOutcome };
  const groups = new Map(failures.map((group) => [keyOf(group), group]));
  const machines = new Set<string>();
  for (const receipt of more) {
    const { outcome, stage, code, machine, boot, began } = receipt;
    outcomes[outcome] += 1;
    if (!isFailure(outcome)) continue;
    const key = keyOf(receipt);
    const before = groups.get(key) ?? { count: 0, machines: 0, last: boot, lastBegan: began };
    const isNewest = began >= before.lastBegan;
    // Whether it is one that was counted before, nobody can tell here.
    const isNew = !machines.has(`${key} ${machine}`);
    machines.add(`${key} ${machine}`);
    groups.set(key, {
      ...{ outcome, stage },
      ...(code === undefined ? {} : { code }),
      count: before.count + 1,
      machines: before.machines + (isNew ? 1 : 0),
      last: isNewest ? boot : before.last,
      lastBegan: isNewest ? began : before.lastBegan,
    });
  }
  const sorted = [...groups.values()].sort(
    (one, other) => other.count - one.count || other.lastBegan - one.lastBegan,
  );
  return { total: total + more.length, byOutcome: outcomes, failures: sorted };
}

function keyOf({ outcome, stage, code }: Pick<FailureGroup, 'outcome' | 'stage' | 'code'>): string {
  return `${outcome} ${stage} ${code}`;
}
