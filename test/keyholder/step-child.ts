// First: what it patches must be patched before anything imports it.

import { appendFileSync, existsSync } from 'node:fs';
import { onEachStep } from '../store/faulty-disk.ts';

/**
 * To be imported by `bootseal` before all else (`NODE_OPTIONS`), in a process of its own: from when a file is there, it
 * writes down each step that changes the disk, and at one of them sends itself a signal.
 */
const { STEPS_ARMED = '', STEPS_TAKEN = '', STEPS_AT, STEPS_SIGNAL = 'SIGKILL' } = process.env;
const CHANGES = /^(rename|link|rm|copyFile|handle\.(write|writeFile))$/;

let steps = 0;
onEachStep((name) => {
  if (!CHANGES.test(name) || !existsSync(STEPS_ARMED)) return;
  steps += 1;
  appendFileSync(STEPS_TAKEN, `${name}\n`);
  if (String(steps) === STEPS_AT) process.kill(process.pid, STEPS_SIGNAL);
});
