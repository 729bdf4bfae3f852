/** A whole number from 0 to below `limit`, each as likely as any other: `crypto.randomInt`, or a test's own. */
export type Random = (limit: number) => number;

/**
 * Draws `count` different numbers below `limit`, every set as likely as any other (Floyd's algorithm, CACM 30:9, 1987);
 * sorted.
 */
export function draw(limit: number, count: number, random: Random): number[] {
  const drawn = new Set<number>();
  for (let top = limit - count; top < limit; top += 1) {
    const one = random(top + 1);
    drawn.add(drawn.has(one) ? top : one);
  }
  return [...drawn].sort((a, b) => a - b);
}
