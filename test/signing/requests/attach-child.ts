import { dieAt, step, steps } from '../kill-steps.ts';

/** Attaches in a process of its own: `TREE RESPONSE [STOP]`. Ends and prints as `seal-child.ts` does. */
const [tree = '', response = '', stop] = process.argv.slice(2);
dieAt(stop);

const { attach } = await import('../../../src/operations/request.ts');
const { files } = await attach({ tree, responses: [response], onProgress: () => step('progress') });
process.stdout.write(JSON.stringify({ files, steps }));
