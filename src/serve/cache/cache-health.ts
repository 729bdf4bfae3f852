import { IoError } from '../../errors/io.ts';
import type { Refusal } from '../../errors/refusal.ts';

/** Milliseconds for which nothing is begun that needs room, once the disk has failed in the middle. */
const DISK_PAUSE = 30_000;
/** Milliseconds for which it is said that the store did not answer: it may be back, with nobody who asks it for content. */
const SILENT_TOLD = 60_000;

/** What went wrong of late with the disk of a cache, and with the store behind it. */
export class CacheHealth {
  readonly #monotonic: () => number;
  #diskFault: { readonly message: string; readonly until: number } | undefined;
  #silent: { readonly why: string; readonly until: number } | undefined;

  /** @param monotonic milliseconds. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** Whether the disk failed a moment ago. */
  get diskFails(): boolean {
    return this.#diskFault !== undefined && this.#monotonic() < this.#diskFault.until;
  }

  /** What an operator should know: one sentence each. */
  get warnings(): readonly string[] {
    const warnings: string[] = [];
    if (this.#silent && this.#monotonic() < this.#silent.until) {
      const why = this.#silent.why.replace(/\.$/, '');
      warnings.push(`the store cannot be reached: what is not in the cache is not served (${why})`);
    }
    if (this.#diskFault && this.diskFails)
      warnings.push(`the cache cannot be written to, and nothing new is kept: ${this.#diskFault.message}`);
    return warnings;
  }

  storeAnswered(): void {
    this.#silent = undefined;
  }

  storeIsAway({ facts }: Refusal): void {
    this.#silent = { why: String(facts.why), until: this.#monotonic() + SILENT_TOLD };
  }

  /** Whatever else it is, it says nothing about the disk. */
  noteDisk(error: unknown): void {
    if (!(error instanceof IoError)) return;
    this.#diskFault = { message: error.message, until: this.#monotonic() + DISK_PAUSE };
  }
}
