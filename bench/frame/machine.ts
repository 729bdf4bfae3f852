import { cpus, loadavg, release, totalmem } from 'node:os';

/** What the figures were measured on. Ratios carry over to other machines, seconds do not. */
export interface MachineFacts {
  readonly processors: string;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Of the minute before; above 0.3 for each processor somebody else was at work. */
  readonly load: number;
}

export function machineFacts(): MachineFacts {
  const all = cpus();
  return {
    processors: `${all.length} × ${(all[0]?.model ?? 'unknown').trim()}`,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: `Linux ${release()}`,
    node: process.version,
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}

/** One line. */
export function describeMachine({ processors, memoryGiB, kernel, node, load }: MachineFacts): string {
  return `${processors}, ${memoryGiB} GiB, ${kernel}, Node ${node.replace(/^v/, '')}, load before ${load}`;
}

/** Whether seconds of two runs can be compared. */
export function isSameMachine(one: MachineFacts, other: MachineFacts): boolean {
  return one.processors === other.processors && one.node === other.node;
}
