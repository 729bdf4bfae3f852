import { AsyncLocalStorage } from 'node:async_hooks';
import fs from 'node:fs';
import fsPromises, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';

/*
 * Faults of the disk, from inside: each call to the file system is counted, and one of them fails as the system would
 * have it. To be imported by whoever runs an act under it; what ran before is not counted.
 */

/** What a call was, and who made it. */
export interface Call {
  readonly op: string;
  /** The lines of `src/` that led to it, the nearest first. */
  readonly from: string;
}

/** What becomes of the calls of one run. */
export type Plan =
  | { readonly kind: 'none' }
  /** One call fails. @param turn which of the errors that such a call can have. */
  | { readonly kind: 'fail'; readonly at: number; readonly turn: number }
  /** That call and all after it: the process was killed there. */
  | { readonly kind: 'die'; readonly at: number }
  /** Every read gives a part of what was asked for, every write takes a part. */
  | { readonly kind: 'short' };

export interface Run<T> {
  readonly calls: readonly Call[];
  readonly outcome: { readonly value: T } | { readonly error: unknown };
  /** The fault that was met: `open EMFILE`. */
  readonly fault: string | undefined;
}

const PATH = ['EACCES', 'EIO', 'EMFILE'];
const MAKE = ['ENOSPC', 'EIO', 'EACCES', 'EMFILE'];
const ASK = ['EIO', 'EACCES'];
const CHANGE = ['EIO', 'EACCES', 'ENOSPC'];
const DATA = ['EIO'];
const PUT = ['ENOSPC', 'EIO'];

/** By name of a call in `node:fs` or `node:fs/promises`, the errors that it can meet. */
const CALLS: Readonly<Record<string, readonly string[]>> = {
  open: MAKE,
  readFile: PATH,
  writeFile: MAKE,
  readdir: PATH,
  readlink: ASK,
  realpath: ASK,
  stat: ASK,
  lstat: ASK,
  access: ASK,
  exists: ASK,
  mkdir: CHANGE,
  mkdtemp: CHANGE,
  rename: CHANGE,
  link: CHANGE,
  symlink: CHANGE,
  copyFile: MAKE,
  unlink: ['EIO', 'EACCES'],
  rm: ['EIO', 'EACCES'],
  rmdir: ['EIO', 'EACCES'],
  chmod: ['EIO', 'EPERM'],
  fstat: DATA,
  read: DATA,
};
/** The same of an open file. */
const HANDLE: Readonly<Record<string, readonly string[]>> = {
  read: DATA,
  readFile: DATA,
  write: PUT,
  writeFile: PUT,
  appendFile: PUT,
  sync: ['EIO', 'ENOSPC'],
  datasync: ['EIO', 'ENOSPC'],
  truncate: PUT,
  stat: DATA,
  chmod: ['EIO', 'EPERM'],
  close: DATA,
};

const inside = new AsyncLocalStorage<true>();
let calls: Call[] | undefined;
let plan: Plan = { kind: 'none' };
let met: string | undefined;

/** Runs work, and one thing goes wrong with it. One run at a time. */
export async function under<T>(wanted: Plan, work: () => Promise<T>): Promise<Run<T>> {
  if (calls) throw new Error('a run is going on');
  const limit = Error.stackTraceLimit;
  calls = [];
  plan = wanted;
  met = undefined;
  Error.stackTraceLimit = 30;
  try {
    const outcome = await work().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    return { calls, outcome, fault: met };
  } finally {
    Error.stackTraceLimit = limit;
    calls = undefined;
    plan = { kind: 'none' };
  }
}

/** Counts a call; answers the error that it shall meet. */
function meet(op: string, errors: readonly string[]): NodeJS.ErrnoException | undefined {
  if (!calls || inside.getStore()) return undefined;
  const at = calls.length;
  calls.push({ op, from: callers() });
  const fails = plan.kind === 'fail' ? plan.at === at : plan.kind === 'die' && at >= plan.at;
  if (!fails) return undefined;
  const code = errors[(plan.kind === 'fail' ? plan.turn : 0) % errors.length] ?? 'EIO';
  met ??= `${op} ${code}`;
  return Object.assign(new Error(`${code}: injected, ${op}`), { code, errno: -5, syscall: op });
}

/** How many different errors a call can have. */
export function turnsOf({ op }: Call): number {
  return (op.startsWith('handle.') ? HANDLE[op.slice(7)] : CALLS[op.replace(/Sync$/, '')])?.length ?? 1;
}

function callers(): string {
  const lines = (new Error('here').stack ?? '').split('\n');
  return lines
    .flatMap((line) => /dist\/src\/([^:)]+:\d+):/.exec(line)?.[1] ?? [])
    .slice(0, 3)
    .join(' < ');
}

type Any = (...args: unknown[]) => unknown;
const part = (length: number) => Math.max(1, Math.ceil(length / 3));

function patchPromises(): void {
  const table = fsPromises as unknown as Record<string, Any>;
  for (const [name, errors] of Object.entries(CALLS)) {
    const call = table[name];
    if (!call) continue;
    table[name] = async (...args: unknown[]) => {
      const error = meet(name, errors);
      // Node's own rm() asks by other calls; it is one call to whoever makes it.
      if (!error) {
        const answer = calls ? inside.run(true, () => call(...args)) : call(...args);
        return name === 'open' ? closing((await answer) as FileHandle) : answer;
      }
      // A full disk takes the first half.
      if (name === 'writeFile') await call(args[0], half(args[1]), args[2]);
      throw error;
    };
  }
}

function patchSync(): void {
  const table = fs as unknown as Record<string, Any>;
  for (const [name, errors] of Object.entries(CALLS)) {
    const call = table[`${name}Sync`];
    if (!call) continue;
    table[`${name}Sync`] = (...args: unknown[]) => {
      const error = meet(`${name}Sync`, errors);
      // It answers what it cannot tell with no.
      if (error && name === 'exists') return false;
      if (error) throw error;
      if (name !== 'read' || !calls || plan.kind !== 'short') return call(...args);
      const [fd, buffer, offset, length, ...rest] = args;
      return call(fd, buffer, offset, part(Number(length)), ...rest);
    };
  }
}

/** Of those with a callback, what `src/` uses. */
function patchCallbacks(): void {
  const table = fs as unknown as Record<string, Any>;
  for (const name of ['open', 'read', 'fstat', 'stat', 'lstat', 'readFile', 'readdir']) {
    const call = table[name] as Any;
    const patched = (...args: unknown[]) => {
      const done = args.at(-1);
      const error = typeof done === 'function' ? meet(name, CALLS[name] ?? DATA) : undefined;
      if (error) return setImmediate(() => (done as Any)(error));
      if (name !== 'read' || !calls || plan.kind !== 'short') return call(...args);
      const [fd, buffer, offset, length, ...rest] = args;
      return call(fd, buffer, offset, part(Number(length)), ...rest);
    };
    // What is promisified keeps its own form: fs.read answers two values.
    table[name] = Object.assign(patched, Object.fromEntries(Object.entries(call)));
    for (const symbol of Object.getOwnPropertySymbols(call))
      Object.defineProperty(patched, symbol, {
        value: (call as unknown as Record<symbol, unknown>)[symbol],
        configurable: true,
      });
  }
}

/** Each open file has a close() of its own. */
function closing(handle: FileHandle): FileHandle {
  const { close } = handle;
  handle.close = async () => {
    const error = meet('handle.close', HANDLE.close ?? DATA);
    // Linux frees the descriptor whatever close(2) says.
    await close.call(handle);
    if (error) throw error;
  };
  return handle;
}

function half(data: unknown): Uint8Array {
  const bytes = typeof data === 'string' ? Buffer.from(data) : (data as Uint8Array);
  return bytes.subarray(0, Math.floor(bytes.length / 2));
}

async function patchHandles(): Promise<void> {
  const some = await fsPromises.open(tmpdir(), 'r');
  const prototype = Object.getPrototypeOf(some) as Record<string, Any>;
  await some.close();
  for (const [name, errors] of Object.entries(HANDLE)) {
    if (name === 'close') continue;
    const call = prototype[name] as Any;
    prototype[name] = async function (this: FileHandle, ...args: unknown[]) {
      const error = meet(`handle.${name}`, errors);
      if (!error) return call.apply(this, plan.kind === 'short' && calls ? shortened(name, args) : args);
      if (name === 'writeFile' || name === 'appendFile') await call.call(this, half(args[0]));
      throw error;
    };
  }
}

function shortened(name: string, args: unknown[]): unknown[] {
  const [buffer, offset, length, ...rest] = args;
  if (!['read', 'write'].includes(name) || !ArrayBuffer.isView(buffer)) return args;
  const from = typeof offset === 'number' ? offset : 0;
  const whole = typeof length === 'number' ? length : buffer.byteLength - from;
  return whole === 0 ? args : [buffer, from, part(whole), ...rest];
}

patchPromises();
patchSync();
patchCallbacks();
await patchHandles();
syncBuiltinESMExports();
