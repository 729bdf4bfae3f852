import { readFileSync } from 'node:fs';
import { measureFile } from '../../src/files/measure.ts';
import type { Question } from '../../src/files/measurer.ts';

/** Measures a file in a process of its own, as the sealer does, and prints its peak memory in KiB: `FILE`. */
const questions: Question[] = [
  { kind: 'digest', hash: 'sha256' },
  { kind: 'digest', hash: 'sha512' },
  { kind: 'verity' },
];
const { answers } = await measureFile(process.argv[2] ?? '', questions);
const trees = answers[2];
// The high-water mark of this process alone: `ru_maxrss` is inherited from the one that started it.
const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
const size = typeof trees === 'object' && 'size' in trees ? trees.size : undefined;
process.stdout.write(JSON.stringify({ peak: Number(peak), trees: { size } }));
