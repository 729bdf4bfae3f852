import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** How the numbers of a registry are made: each name gets this program's prefix. */
export interface Meters {
  counter<L extends string = never>(name: string, help: string, labelNames?: readonly L[]): Counter<L>;
  gauge<L extends string = never>(name: string, help: string, labelNames?: readonly L[]): Gauge<L>;
  /** @param buckets their upper ends, in the unit that the name says. */
  histogram<L extends string = never>(
    name: string,
    help: string,
    buckets: readonly number[],
    labelNames?: readonly L[],
  ): Histogram<L>;
}

/**
 * Names follow Prometheus (base units; `_total` for counters alone), labels are of closed sets, and whoever makes a number
 * sets every series of it to 0: one that begins with its first event hides it from `rate`.
 *
 * @param collect asks for what is to be told, whenever somebody reads.
 */
export function meters(registry: Registry, collect: () => void | Promise<void> = () => {}): Meters {
  const common = <L extends string>(name: string, help: string, labelNames: readonly L[]) => ({
    ...{ name: `bootseal_${name}`, help, labelNames: [...labelNames], registers: [registry], collect },
  });
  return {
    counter: (name, help, labelNames = []) => new Counter(common(name, help, labelNames)),
    gauge: (name, help, labelNames = []) => new Gauge(common(name, help, labelNames)),
    histogram: (name, help, buckets, labelNames = []) =>
      new Histogram({ ...common(name, help, labelNames), buckets: [...buckets] }),
  };
}
