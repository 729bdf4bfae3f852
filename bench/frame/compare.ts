import { spreadOf } from './row.ts';

/** What one go of one side took. */
export interface Sample {
  /** Wall time. */
  readonly seconds: number;
  /** Seconds of processors, of whoever did the job: a busy machine changes them little. */
  readonly processor?: number;
}

/** Does the job once. A number is seconds of wall time. */
export type Work = (round: number) => Promise<Sample | number>;

export interface Compared<Side extends string> {
  /** For each side a sample a round, in the order of the rounds. */
  readonly samples: Readonly<Record<Side, readonly Sample[]>>;
  /** How many times as fast the first side is as another: round by round, so that a machine that slows down slows both. */
  faster(peer: Side): readonly number[];
  /** The same by processor time. @throws RangeError where a side told none. */
  lighter(peer: Side): readonly number[];
  /** Seconds of a side, the median. */
  seconds(side: Side): number;
  /** Seconds of processors of a side, the median. */
  processor(side: Side): number;
}

export interface CompareOptions {
  readonly rounds: number;
  /** Rounds that do not count, first: caches fill, code gets compiled. Default: 1. */
  readonly warm?: number;
}

/**
 * Lets several sides do one job in turns: A B A B …, the order turned round each time, since who comes second finds another
 * machine than who comes first.
 */
export async function compare<Side extends string>(
  sides: Readonly<Record<Side, Work>>,
  { rounds, warm = 1 }: CompareOptions,
): Promise<Compared<Side>> {
  const names = Object.keys(sides) as Side[];
  const [own] = names;
  if (own === undefined || rounds < 1) throw new RangeError('nothing to compare');
  const samples = Object.fromEntries(names.map((name) => [name, [] as Sample[]])) as Record<Side, Sample[]>;
  for (let round = -warm; round < rounds; round += 1) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) {
      const told = await sides[name](round);
      if (round >= 0) samples[name].push(typeof told === 'number' ? { seconds: told } : told);
    }
  }
  const ratios = (peer: Side, cost: (sample: Sample) => number) =>
    samples[own].map((sample, round) => cost(samples[peer][round] ?? sample) / cost(sample));
  return {
    samples,
    faster: (peer) => ratios(peer, ({ seconds }) => seconds),
    lighter: (peer) => ratios(peer, processorOf),
    seconds: (side) => spreadOf(samples[side].map(({ seconds }) => seconds)).median,
    processor: (side) => spreadOf(samples[side].map(processorOf)).median,
  };
}

function processorOf({ processor }: Sample): number {
  if (processor === undefined) throw new RangeError('nobody measured processor time');
  return processor;
}

/** Wall time of some work, in seconds. */
export async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}
