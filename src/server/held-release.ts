import type { Refusal } from '../errors/refusal.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { Verifier } from '../trust/verifier.ts';

/**
 * A release as this process holds it: verified once, and judged again whenever time may have changed the answer
 * (DESIGN §3, rule 15). What ends is new boots; a machine that runs keeps its root.
 */
export class HeldRelease {
  readonly release: ServableRelease;
  #refusal: Refusal | undefined;
  #withdrawn: Refusal | undefined;
  #cut = false;
  #judged = Number.POSITIVE_INFINITY;
  #next: number | undefined;

  private constructor(release: ServableRelease) {
    this.release = release;
  }

  static async of(release: ServableRelease, verifier: Verifier): Promise<HeldRelease> {
    const held = new HeldRelease(release);
    await held.judge(verifier);
    return held;
  }

  /** Why no machine starts it any more; undefined while they do. */
  get refusal(): Refusal | undefined {
    return this.#withdrawn ?? this.#refusal;
  }

  /**
   * An operator took it out of use, and that is for good: whoever takes the record of it away, which bears no seal, changes
   * nothing here.
   *
   * @param cut machines that run it lose their root, too.
   */
  withdraw(refusal: Refusal, cut: boolean): void {
    this.#withdrawn = refusal;
    this.#cut ||= cut;
  }

  /** Why nothing of it is served any more, not even to machines that run; undefined while it is. */
  get cut(): Refusal | undefined {
    return this.#cut ? this.#withdrawn : undefined;
  }

  /**
   * Whether its judgement may be another by now: something ended or began since, or the clock was set back.
   *
   * @param now milliseconds since 1970.
   */
  isDue(now: number): boolean {
    return now < this.#judged || (this.#next !== undefined && now >= this.#next);
  }

  /** Judges it as of now, out of memory. @returns whether the answer is another than before. */
  async judge(verifier: Verifier): Promise<boolean> {
    const before = this.refusal;
    // Read once, and before: a clock that moves meanwhile makes it due again.
    this.#judged = verifier.now;
    this.#next = verifier.nextMoment(this.release);
    this.#refusal = await verifier.judgeAgain(this.release);
    return before?.message !== this.refusal?.message;
  }
}
