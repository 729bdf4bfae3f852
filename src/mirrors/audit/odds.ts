/**
 * How likely a sample finds what was tampered with. Drawn are whole ranges, without putting any back, so it is the
 * hypergeometric distribution, and exact.
 */
export interface Sampling {
  /** Blocks of the file. */
  readonly blocks: number;
  /** Blocks of a range; the last range may have fewer. */
  readonly rangeBlocks: number;
  /** Ranges that are drawn, at most as many as there are. */
  readonly drawn: number;
}

/** Ranges of a file. */
export function rangesOf({ blocks, rangeBlocks }: Pick<Sampling, 'blocks' | 'rangeBlocks'>): number {
  return Math.ceil(blocks / rangeBlocks);
}

/**
 * The probability that at least one changed block is among those drawn, whichever blocks were changed: who changes blocks
 * side by side changes the fewest ranges, so that is what is counted.
 *
 * @param changed blocks, at most all of them; 0 is never found.
 */
export function caughtAtLeast(sampling: Sampling, changed: number): number {
  const ranges = rangesOf(sampling);
  const tampered = Math.ceil(changed / sampling.rangeBlocks);
  return 1 - missed(ranges, sampling.drawn, tampered);
}

/** C(ranges - tampered, drawn) / C(ranges, drawn): no tampered range among those drawn. */
function missed(ranges: number, drawn: number, tampered: number): number {
  // Both ways of counting are one number; the shorter product has the smaller error.
  const [few, many] = drawn < tampered ? [drawn, tampered] : [tampered, drawn];
  if (few + many > ranges) return 0;
  let probability = 1;
  for (let at = 0; at < few; at += 1) probability *= (ranges - many - at) / (ranges - at);
  return probability;
}
