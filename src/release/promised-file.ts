import type { Content } from '../files/measure.ts';

/**
 * A file whose content lies elsewhere and was not read: its size and digest are signed, and nothing of it is served before
 * it turned out to be that.
 */
export interface PromisedFile {
  /** Its path in the tree of its release. */
  readonly path: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /**
   * Judges content that is here: that it is what was promised, and every seal that only the whole of it can show to fit.
   *
   * @throws Refusal where it is not; what the content says where it cannot be read.
   */
  judge(arrived: Arrived): Promise<void>;
}

/** Content that has come, whole. */
export interface Arrived extends Content {
  /** All of it. @param limit bytes. @throws Refusal `too-large` */
  bytes(limit: number): Promise<Uint8Array>;
}

/** Told apart by what only one of the two can do. */
export function isPromised<File extends object>(file: File | PromisedFile): file is PromisedFile {
  return 'judge' in file;
}
