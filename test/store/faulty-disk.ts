import fsPromises, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';

/**
 * A disk that fails once: each call of `node:fs/promises` and of its file handles, by which this process reads or writes,
 * is counted, and the one that is chosen fails or does less than it was asked. To be imported before what is tried.
 */

export type Fault =
  | { readonly at: number; readonly code: 'EIO' | 'EMFILE' | 'EACCES' | 'ENOSPC' }
  /** A read or write that does a part. Others are left alone. */
  | { readonly at: number; readonly code: 'short' };

const FUNCTIONS = [
  'open',
  'readFile',
  'readdir',
  'stat',
  'lstat',
  'statfs',
  'mkdir',
  'rename',
  'link',
  'rm',
  'rmdir',
  'copyFile',
  'chmod',
] as const;
const METHODS = ['read', 'readFile', 'write', 'writeFile', 'stat', 'sync', 'chmod', 'truncate'] as const;

let fault: Fault | undefined;
let calls: string[] | undefined;
/** What is called after each step; may end the process. */
let step: ((name: string) => void) | undefined;

type Call = (...args: unknown[]) => Promise<unknown>;

function faulty(
  name: string,
  call: Call,
  partial?: (self: unknown, args: unknown[]) => Promise<unknown>,
): Call {
  return async function (this: unknown, ...args) {
    const index = calls?.push(name);
    if (fault && index === fault.at) {
      if (fault.code !== 'short') {
        throw Object.assign(new Error(`${fault.code}: injected, ${name}`), {
          code: fault.code,
          syscall: name,
        });
      }
      if (partial) return partial(this, args);
    }
    const answer = await call.apply(this, args);
    step?.(name);
    return answer;
  };
}

const probe = await fsPromises.open(tmpdir(), 'r');
const prototype = Object.getPrototypeOf(probe) as Record<string, Call>;
await probe.close();
for (const name of FUNCTIONS) {
  const call = fsPromises[name] as unknown as Call;
  Object.assign(fsPromises, { [name]: faulty(name, call) });
}
const PARTIAL: Partial<
  Record<(typeof METHODS)[number], (self: FileHandle, args: unknown[]) => Promise<unknown>>
> = {
  read: (self, [buffer, offset, length, position]) =>
    original('read').call(self, buffer, offset, Math.ceil(Number(length) / 2), position),
  write: (self, [buffer, offset, length, position]) =>
    original('write').call(self, buffer, offset, Math.ceil(Number(length) / 2), position),
  // The disk has less than its inode says.
  readFile: async (self, args) => {
    const bytes = (await original('readFile').apply(self, args)) as Buffer;
    return bytes.subarray(0, Math.floor(bytes.length / 2));
  },
};
const originals = new Map(METHODS.map((name) => [name, prototype[name] as Call]));
// Nothing here outlives its test, and waiting for the disk is most of what it would take.
originals.set('sync', async () => undefined);
function original(name: (typeof METHODS)[number]): Call {
  return originals.get(name) as Call;
}
for (const name of METHODS) {
  prototype[name] = faulty(`handle.${name}`, original(name), PARTIAL[name] as never);
}
syncBuiltinESMExports();

/** Runs `work` on a disk with that fault, or with none. Answers what it did, and the calls by which it did it. */
export async function onDisk<T>(
  chosen: Fault | undefined,
  work: () => Promise<T>,
): Promise<{ answer: T | undefined; error: unknown; calls: readonly string[] }> {
  const counted: string[] = [];
  calls = counted;
  fault = chosen;
  try {
    return { answer: await work(), error: undefined, calls: counted };
  } catch (error) {
    return { answer: undefined, error, calls: counted };
  } finally {
    calls = undefined;
    fault = undefined;
  }
}

/** Calls back after each call that succeeds. */
export function onEachStep(call: (name: string) => void): void {
  step = call;
}
