import { stopped } from './halt.ts';

/** Bytes that one line may expand and print, and all lines of a run. Honest scripts have a few kilobytes. */
const LINE_OCTETS = 2 ** 18;
const RUN_OCTETS = 2 ** 22;
/** What a line costs that says nothing. */
const EMPTY_LINE = 32;

/**
 * What a run may cost. The number of steps bounds nothing by itself: settings that hold one another double
 * with each, so that a few lines can be worth gigabytes.
 */
export class Budget {
  #line = 0;
  #run = 0;

  /** @param bytes of the line as it stands in the script. */
  startLine(octets: number): void {
    this.#line = 0;
    this.spend(EMPTY_LINE + octets);
  }

  /** Counts bytes that were read, expanded or printed. Ends the run where they are too many. */
  readonly spend = (octets: number): void => {
    this.#line += octets;
    this.#run += octets;
    if (this.#line > LINE_OCTETS) {
      throw stopped(`one line expands to more than ${LINE_OCTETS} bytes`, { limit: LINE_OCTETS });
    }
    if (this.#run > RUN_OCTETS) {
      throw stopped(`the script expands to more than ${RUN_OCTETS} bytes`, { limit: RUN_OCTETS });
    }
  };
}
