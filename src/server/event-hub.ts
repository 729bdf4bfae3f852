import { randomBytes } from 'node:crypto';

import type { Share } from '../serve/shares.ts';

/** What listeners are told: of a boot; that something else has changed; pieces of the overview. */
export const EVENT_KINDS = ['boot', 'state', 'page'] as const;

export type EventKind = (typeof EVENT_KINDS)[number];

export interface HubEvent {
  /** Counts from 1. */
  readonly number: number;
  readonly kind: EventKind;
  /** JSON, of one line. */
  readonly data: string;
}

export interface EventHubOptions {
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
}

/** Listeners in all, and of one share for its weight. */
export const MOST_LISTENERS = 200;
export const MOST_OF_SHARE = 16;
/** What is kept for those who come back: events, and characters of all of them. */
const KEPT = 2000;
const KEPT_LENGTH = 4 * 1024 * 1024;
/** Milliseconds for which somebody who asked once is thought to come again. */
const INTEREST_MS = 60_000;

/**
 * The last events, for any number of listeners. Nothing is kept for one of them: each has a place in this one bounded
 * list, and who has fallen behind its beginning has to look anew. So a listener that does not read costs nothing.
 */
export class EventHub {
  readonly #options: EventHubOptions;
  /** Numbers of another process say nothing here. */
  readonly #epoch = randomBytes(4).toString('hex');
  #events: HubEvent[] = [];
  #length = 0;
  #last = 0;
  #interest = Number.NEGATIVE_INFINITY;
  #ended = false;
  readonly #waiting = new Set<() => void>();
  readonly #shares = new Map<string, number>();
  #listeners = 0;

  constructor(options: EventHubOptions) {
    this.#options = options;
  }

  get listeners(): number {
    return this.#listeners;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The id of the newest event: whoever knows all until now goes on from there. */
  get last(): string {
    return this.#idOf(this.#last);
  }

  /** Whether anybody listens, or has asked a moment ago: else nothing need be told. */
  get heard(): boolean {
    return this.#listeners > 0 || this.#options.monotonic() - this.#interest < INTEREST_MS;
  }

  /** Somebody has asked, and may come again. */
  touch(): void {
    this.#interest = this.#options.monotonic();
  }

  push(kind: EventKind, value: unknown): void {
    if (!this.heard) return;
    // JSON has no line breaks of its own, which would end the field (HTML, "server-sent events": 9.2.6).
    const data = JSON.stringify(value);
    this.#last += 1;
    this.#events.push({ number: this.#last, kind, data });
    this.#length += data.length;
    let over = 0;
    while (
      this.#events.length - over > KEPT ||
      (this.#length > KEPT_LENGTH && over < this.#events.length - 1)
    ) {
      this.#length -= this.#events[over]?.data.length ?? 0;
      over += 1;
    }
    if (over > 0) this.#events.splice(0, over);
    this.#wake();
  }

  /** The number behind an id; undefined for one of another process, and for what is none. */
  numberOf(id: string): number | undefined {
    const [, epoch, digits] = /^([0-9a-f]{8})-([0-9]{1,15})$/.exec(id) ?? [];
    const number = Number(digits);
    return epoch === this.#epoch && number <= this.#last ? number : undefined;
  }

  idOf(event: HubEvent): string {
    return this.#idOf(event.number);
  }

  /** What came after an event, the oldest first; undefined where some of it is not kept any more. */
  after(number: number, kinds: ReadonlySet<EventKind>): readonly HubEvent[] | undefined {
    const first = this.#events[0]?.number ?? this.#last + 1;
    if (number + 1 < first) return undefined;
    return this.#events.slice(number + 1 - first).filter(({ kind }) => kinds.has(kind));
  }

  /** The number of the newest event. */
  get number(): number {
    return this.#last;
  }

  /** Lets a listener in. @returns how it leaves, which may be called twice; undefined where there are too many. */
  join({ name, weight }: Share): (() => void) | undefined {
    const own = this.#shares.get(name) ?? 0;
    if (this.#ended || this.#listeners >= MOST_LISTENERS || own >= MOST_OF_SHARE * weight) return undefined;
    this.#listeners += 1;
    this.#shares.set(name, own + 1);
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#listeners -= 1;
      const left = (this.#shares.get(name) ?? 1) - 1;
      if (left > 0) this.#shares.set(name, left);
      else this.#shares.delete(name);
    };
  }

  /** Resolves when there may be something new, after so many milliseconds, or when the signal says so. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#ended || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      timer.unref();
      this.#waiting.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** Every stream ends: its server closes. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }

  #idOf(number: number): string {
    return `${this.#epoch}-${number}`;
  }
}
