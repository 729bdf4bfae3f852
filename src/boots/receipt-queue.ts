import type { Log } from '../serve/event-log.ts';
import type { Shares } from '../serve/shares.ts';
import { DayBudget } from './day-budget.ts';
import type { ReceiptLines } from './memory-lines.ts';
import type { OpenBoot } from './open-boot.ts';
import { encodeReceipt, type Receipt } from './receipt.ts';
import type { Place } from './segments.ts';

export interface ReceiptQueueOptions {
  readonly lines: ReceiptLines;
  /** Bytes that are kept: in a day each share may fill a part of that. Undefined: as much as it likes. */
  readonly keepBytes: number | undefined;
  readonly shares: Shares;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly log: Log;
  readonly onWritten: (receipt: Receipt, place: Place) => void;
}

/** Boots whose line waits for a disk that takes none. */
const MOST_WAITING = 10_000;
/** Milliseconds between two attempts at such a disk. */
const RETRY_MS = 5_000;
/** Lines of one boot that are written at once; from then on each waits twice as long as the one before, an hour at most. */
const LINES_AT_ONCE = 6;
const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 3_600_000;
const NOT_WRITTEN = 'receipts of boots cannot be written; boots go on';
/** Milliseconds between two lines of the log about addresses of which there are too many receipts. */
const TELL_MS = 3_600_000;
/** Of a card that has none yet, as DHCP has it. */
const NO_ADDRESS = '0.0.0.0';

/**
 * Boots whose receipts are to be written, one line after the other: a disk that takes none keeps no boot from going on, no
 * boot has more lines than it needs, and no address fills more than its part.
 */
export class ReceiptQueue {
  readonly #options: ReceiptQueueOptions;
  readonly #day: DayBudget | undefined;
  readonly #waiting = new Set<OpenBoot>();
  /** Whose next line has time: what is added after the end, and whoever has had many lines. */
  readonly #late = new Set<OpenBoot>();
  #writing: Promise<void> | undefined;
  /** Whose line is being written. */
  #inHand: OpenBoot | undefined;
  #fault: string | undefined;
  /** What was said last of lines that were taken and are not where they belong. */
  #linesFault: string | undefined;
  #faultAt = Number.NEGATIVE_INFINITY;
  #lost = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: ReceiptQueueOptions) {
    const { keepBytes, monotonic } = options;
    this.#options = options;
    this.#day = keepBytes === undefined ? undefined : new DayBudget(keepBytes, monotonic);
  }

  /** Boots that no line was kept of, since there was no room for it. */
  get lost(): number {
    return this.#lost;
  }

  /** Why nothing is written at the moment; undefined while it is. */
  get fault(): string | undefined {
    return this.#fault ?? this.#options.lines.fault?.message;
  }

  /** @param isNews it is written at once, where its boot has not had many lines. */
  add(boot: OpenBoot, isNews: boolean): void {
    if (!isNews || boot.nextLine > this.#options.monotonic()) {
      this.#late.add(boot);
      return;
    }
    this.#waiting.add(boot);
    this.#flush();
  }

  remove(boot: OpenBoot): void {
    this.#waiting.delete(boot);
    this.#late.delete(boot);
  }

  holds(boot: OpenBoot): boolean {
    return this.#waiting.has(boot) || this.#late.has(boot) || boot === this.#inHand;
  }

  /** Time passes. @param goesOn whether something may still be added to a boot: one that is forgotten waits no longer. */
  tick(goesOn: (boot: OpenBoot) => boolean): void {
    const { monotonic, lines } = this.#options;
    lines.tick?.();
    this.#tellLines();
    const now = monotonic();
    for (const boot of this.#late) {
      if (boot.nextLine > now && goesOn(boot)) continue;
      this.#late.delete(boot);
      this.#waiting.add(boot);
    }
    if (this.#waiting.size > 0 && now - this.#faultAt >= RETRY_MS) this.#flush();
  }

  /** Resolves when all of it is written, or cannot be. */
  async settled(): Promise<void> {
    for (const boot of this.#late) this.#waiting.add(boot);
    this.#late.clear();
    this.#flush();
    await this.#writing;
  }

  #flush(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#inHand = undefined;
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    const { log } = this.#options;
    for (const boot of this.#waiting) {
      this.remove(boot);
      try {
        await this.#write(boot);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        boot.incomplete ??= `It was not written down when it happened: ${why}`;
        this.#waiting.add(boot);
        this.#giveWay();
        this.#faultAt = this.#options.monotonic();
        if (this.fault !== why) log.error({ err: error }, NOT_WRITTEN);
        this.#fault = why;
        return;
      }
    }
  }

  async #write(boot: OpenBoot): Promise<void> {
    const { lines, shares, monotonic, log, onWritten } = this.#options;
    const receipt = boot.receipt();
    const line = encodeReceipt(receipt);
    const share = shares.of(boot.addresses[0] ?? NO_ADDRESS);
    if (this.#day?.hasRoom(share, line.length) === false) {
      this.#leaveOut(boot, share.name);
      return;
    }
    this.#inHand = boot;
    const place = await lines.append(line);
    this.#day?.take(share, line.length);
    boot.written = true;
    boot.linesWritten += 1;
    const more = boot.linesWritten - LINES_AT_ONCE;
    if (more >= 0) boot.nextLine = monotonic() + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** more);
    onWritten(receipt, place);
    if (this.#fault !== undefined && !lines.fault) log.info({}, 'receipts are written again');
    this.#fault = undefined;
  }

  #tellLines(): void {
    const { lines, log } = this.#options;
    const { fault } = lines;
    if (fault?.message === this.#linesFault) return;
    if (fault) log.error({ err: fault }, NOT_WRITTEN);
    else if (this.#fault === undefined) log.info({}, 'receipts are written again');
    this.#linesFault = fault?.message;
  }

  /** A disk takes nothing, and there is no room for all that wait for it. */
  #giveWay(): void {
    for (const oldest of this.#waiting) {
      if (this.#waiting.size <= MOST_WAITING) return;
      this.#waiting.delete(oldest);
      this.#lost += 1;
    }
  }

  /** The address that began it has had its part of what is written in a day. */
  #leaveOut(boot: OpenBoot, share: string): void {
    const { log, monotonic } = this.#options;
    if (boot.incomplete === undefined && !boot.written) this.#lost += 1;
    boot.incomplete ??=
      'It was not written down when it happened: its address began too many boots that day.';
    if (monotonic() - this.#toldAt < TELL_MS) return;
    this.#toldAt = monotonic();
    log.warn({ share }, 'boots from one address are more than receipts are kept of in a day');
  }
}
