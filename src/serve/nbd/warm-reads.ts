import { readSync } from 'node:fs';

/** Milliseconds, and bytes a millisecond beyond them: what is in memory is there sooner, and no disk is so quick. */
const WAITED = 0.06;
const COPIED = 2_000_000;
/** Milliseconds: whatever the cause, a thread that is kept for so long should not be this one. */
const FAR_TOO_LONG = 100;
/** A read that waited pays for itself: for so many times as long, none is tried. */
const PENANCE = 20;

/**
 * Reads without another thread what is in the page cache anyway.
 *
 * Handing a read to a thread and back costs several times what a small one costs and as much as a large one, and
 * a root image that a whole room boots from is in memory after the first machine. Whether it is cannot be asked,
 * only tried: so a read that turns out to have waited for a disk (and not for the processor, which a busy machine's
 * other work has) is followed by a while in which none is tried here. The event loop thus spends at most a
 * twentieth of its time waiting, however slow the disk is.
 */
export class WarmReads {
  readonly #read: (fd: number, into: Buffer, position: number) => number;
  readonly #now: () => number;
  readonly #diskReads: () => number;
  #seen = 0;
  #coldUntil = Number.NEGATIVE_INFINITY;

  /**
   * @param now milliseconds of a monotonic clock.
   * @param diskReads how often this process has read from a disk so far.
   */
  constructor(
    read = (fd: number, into: Buffer, position: number): number =>
      readSync(fd, into, 0, into.length, position),
    now = (): number => performance.now(),
    diskReads = (): number => process.resourceUsage().fsRead,
  ) {
    this.#read = read;
    this.#now = now;
    this.#diskReads = diskReads;
    this.#seen = diskReads();
  }

  /** Fills `into` at once; false where that was not tried, failed, or ended early: read it some other way. */
  fill(fd: number, into: Buffer, position: number): boolean {
    const began = this.#now();
    if (began < this.#coldUntil) return false;
    let count: number;
    try {
      count = this.#read(fd, into, position);
    } catch {
      count = 0;
    }
    const ended = this.#now();
    const took = ended - began;
    if (took > WAITED + into.length / COPIED && this.#waitedForDisk(took)) {
      this.#coldUntil = ended + PENANCE * took;
    }
    return count === into.length;
  }

  #waitedForDisk(took: number): boolean {
    const before = this.#seen;
    this.#seen = this.#diskReads();
    return this.#seen > before || took > FAR_TOO_LONG;
  }
}
