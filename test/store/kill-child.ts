// First: what it patches must be patched before anything imports it.
import { onEachStep } from './faulty-disk.ts';
import { bringBack, change, publishTo, putAway, releaseOf } from './states.ts';

/** `STATE ACT [STEP]`: does something to a state, and kills itself after so many steps that change the disk. */
const [state = '', act = '', at] = process.argv.slice(2);
const ACTS: Record<string, () => Promise<unknown>> = {
  publish: () => publishTo(state, releaseOf(3)),
  'put away': () => putAway(state, releaseOf(4)),
  'take back': () => bringBack(state, releaseOf(2)),
  change: () => change(state, releaseOf(1)),
};
const CHANGES = /^(rename|link|rm|rmdir|copyFile|handle\.(write|writeFile))$/;

let steps = 0;
onEachStep((name) => {
  if (!CHANGES.test(name)) return;
  steps += 1;
  if (String(steps) === at) process.kill(process.pid, 'SIGKILL');
});
await ACTS[act]?.();
process.stdout.write(`${steps}\n`);
