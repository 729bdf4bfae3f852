import { FairBudget } from '../serve/fair-budget.ts';
import type { Share } from '../serve/shares.ts';

/** Parts of what is kept that may be written in a day. */
const DAYS = 16;
/** One share that floods alone gets a fifth of a day's part: it needs months to push out what is kept of others. */
const GENEROSITY = 0.25;
const SLOT_MS = 3_600_000;
const SLOTS = 24;

/** How much of the receipts that are kept each share may fill in a day: old ones go for new ones, also for invented ones. */
export class DayBudget {
  readonly #now: () => number;
  readonly #budget: FairBudget;
  /** By hour, the oldest first: what each share wrote then. */
  readonly #slots: { readonly at: number; readonly by: Map<string, { share: Share; bytes: number }> }[] = [];

  /** @param keepBytes of all receipts. @param now milliseconds of a monotonic clock. */
  constructor(keepBytes: number, now: () => number) {
    this.#now = now;
    this.#budget = new FairBudget(keepBytes / DAYS, GENEROSITY);
  }

  /** Whether a share may write so many bytes now. */
  hasRoom(share: Share, bytes: number): boolean {
    this.#slot();
    return this.#budget.room(share) >= bytes;
  }

  /** They were written. */
  take(share: Share, bytes: number): void {
    const slot = this.#slot();
    this.#budget.take(share, bytes);
    slot.set(share.name, { share, bytes: (slot.get(share.name)?.bytes ?? 0) + bytes });
  }

  #slot(): Map<string, { share: Share; bytes: number }> {
    const now = this.#now();
    while ((this.#slots[0]?.at ?? now) <= now - SLOTS * SLOT_MS)
      for (const { share, bytes } of this.#slots.shift()?.by.values() ?? []) this.#budget.give(share, bytes);
    const last = this.#slots.at(-1);
    if (last && now - last.at < SLOT_MS) return last.by;
    const by = new Map<string, { share: Share; bytes: number }>();
    this.#slots.push({ at: now, by });
    return by;
  }
}
