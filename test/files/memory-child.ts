import { readFileSync } from 'node:fs';

/** Seals or verifies a tree in a process of its own and prints its peak memory in KiB: `VERB TREE KEYS NOW`. */
const [verb = '', tree = '', keys = '', time = ''] = process.argv.slice(2);
const now = Number(time);
if (verb === 'seal') {
  const { seal } = await import('../../src/operations/seal.ts');
  await seal({ tree, keys, now, rsaBits: 2048 });
} else {
  const { verify } = await import('../../src/conformance/verify.ts');
  const { refusal } = await verify({ tree, anchors: keys, now });
  if (refusal) throw refusal;
}
// `ru_maxrss` is inherited from the process that started this one; the high-water mark is of this image alone.
const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
process.stdout.write(JSON.stringify({ peak: Number(peak), inherited: process.resourceUsage().maxRSS }));
