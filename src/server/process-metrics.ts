import { readdirSync } from 'node:fs';
import { Counter, Gauge, type Registry } from 'prom-client';
import { descriptorLimit } from './descriptors.ts';

/**
 * What any exporter tells of its process, under the names that dashboards know. prom-client's own collectors are not
 * used: they watch the garbage collector for as long as a process lives, once for each server in it.
 */
export function tellProcess(registry: Registry): void {
  const registers = [registry];
  let before = 0;
  const cpu: Counter = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      const now = (user + system) / 1e6;
      cpu.inc(Math.max(0, now - before));
      before = now;
    },
  });
  const gauge = (name: string, help: string, value: () => number): void => {
    const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(value()) });
  };
  gauge('process_start_time_seconds', 'Start time of the process since unix epoch in seconds.', () =>
    Math.round(performance.timeOrigin / 1000),
  );
  gauge('process_resident_memory_bytes', 'Resident memory size in bytes.', () => process.memoryUsage.rss());
  gauge('process_open_fds', 'Number of open file descriptors.', openDescriptors);
  gauge('process_max_fds', 'Maximum number of open file descriptors.', () => descriptorLimit() ?? Number.NaN);
}

/** Not a number where this system does not tell. */
function openDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return Number.NaN;
  }
}
