import fsPromises, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/**
 * Steps at which this process can kill itself without warning: what it reports of its progress, and each step of
 * writing a file. To be imported before whatever writes.
 */
export const steps: string[] = [];
let last: string | undefined;

/** @param at number of the step to die at; undefined: none. */
export function dieAt(at: string | undefined): void {
  last = at;
}

export function step(name: string): void {
  steps.push(name);
  if (String(steps.length - 1) === last) process.kill(process.pid, 'SIGKILL');
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
