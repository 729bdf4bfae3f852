import { dieAt, steps } from '../signing/kill-steps.ts';

/** Signs a tree anew in a process of its own: `TREE KEYS JOURNALS NOW [STOP]`; ends as `seal-child.ts` does. */
const [tree = '', keys = '', journals = '', now = '', stop] = process.argv.slice(2);
dieAt(stop);

const { resignTree } = await import('../../src/resigning/tree.ts');
const { changes } = await resignTree({ tree, keys, journals, now: Number(now), rsaBits: 2048 });
process.stdout.write(JSON.stringify({ changes, steps }));
