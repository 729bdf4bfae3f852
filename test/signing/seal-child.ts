import { dieAt, step, steps } from './kill-steps.ts';

/**
 * Seals a tree in a process of its own: `TREE KEYS NOW [STOP]`. With STOP it kills itself without warning at
 * that step, a progress event or a step of writing; without, it prints how it ended, and every step, as JSON.
 */
const [tree = '', keys = '', now = '', stop] = process.argv.slice(2);
dieAt(stop);

const { seal } = await import('../../src/operations/seal.ts');
const { readyKeyPair } = await import('../fixtures/ready-keys.ts');
try {
  const onProgress = () => step('progress');
  const { files } = await seal({
    tree,
    keys,
    now: Number(now),
    rsaBits: 2048,
    makeKeyPair: readyKeyPair,
    onProgress,
  });
  process.stdout.write(JSON.stringify({ files, steps }));
} catch (error) {
  const { name, message } = error as Error;
  process.stdout.write(JSON.stringify({ name, message, steps }));
}
