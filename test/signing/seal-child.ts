import fsPromises, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/**
 * Seals a tree in a process of its own: `TREE KEYS NOW [STOP]`. With STOP it kills itself without warning at
 * that step, a progress event or a step of writing; without, it prints how it ended, and every step, as JSON.
 */
const [tree = '', keys = '', now = '', stop] = process.argv.slice(2);
const steps: string[] = [];

function step(name: string): void {
  steps.push(name);
  if (String(steps.length - 1) === stop) process.kill(process.pid, 'SIGKILL');
}

const { open, rename } = fsPromises;
Object.assign(fsPromises, {
  async open(...args: Parameters<typeof open>): Promise<FileHandle> {
    const handle = await open(...args);
    if (args[1] !== 'wx') return handle;
    step('created');
    const { writeFile } = handle;
    handle.writeFile = async (data) => {
      const bytes = data as Uint8Array;
      const half = Math.floor(bytes.length / 2);
      await handle.write(bytes, 0, half);
      step('half written');
      await writeFile.call(handle, bytes.subarray(half));
      step('written');
    };
    return handle;
  },
  async rename(...args: Parameters<typeof rename>): Promise<void> {
    await rename(...args);
    step('renamed');
  },
});
syncBuiltinESMExports();

const { seal } = await import('../../src/verbs/seal.ts');
try {
  const onProgress = () => step('progress');
  const { files } = await seal({ tree, keys, now: Number(now), rsaBits: 2048, onProgress });
  process.stdout.write(JSON.stringify({ files, steps }));
} catch (error) {
  const { name, message } = error as Error;
  process.stdout.write(JSON.stringify({ name, message, steps }));
}
