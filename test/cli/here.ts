import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Said, Setting } from './command.ts';

/**
 * `bootseal` inside this process, for what a command says: a process of its own takes a quarter of a second to
 * load what this one holds already. Signals, terminals, logs and whether it ends are asked of `run`.
 */

interface Saying {
  out: string;
  err: string;
}

const MAIN = new URL('../../src/cli/main.js', import.meta.url);
const saying = new AsyncLocalStorage<Saying>();
/** One at a time: arguments, folder and status are the process's. */
let turn: Promise<unknown> = Promise.resolve();
let count = 0;

for (const [name, into] of [
  ['stdout', 'out'],
  ['stderr', 'err'],
] as const) {
  const stream = process[name];
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  const hear = (...args: unknown[]): boolean => {
    const said = saying.getStore();
    // The test runner's reports go through here, too.
    if (said === undefined) return write(...args);
    said[into] += String(args[0]);
    return true;
  };
  Object.assign(stream, { write: hear });
}

/** Runs a command to its end. */
export function runHere(words: readonly string[], setting: Pick<Setting, 'cwd'> = {}): Promise<Said> {
  const ran = turn.then(() => call(words, setting.cwd ?? process.cwd()));
  turn = ran.catch(() => {});
  return ran;
}

async function call(words: readonly string[], cwd: string): Promise<Said> {
  const { argv, env, exitCode } = process;
  const before = process.cwd();
  const streams = [process.stdout, process.stderr] as const;
  const listeners = streams.map((stream) => stream.listeners('error'));
  const { NO_COLOR: _, FORCE_COLOR: __, SOURCE_DATE_EPOCH: ___, ...inherited } = env;
  const ttys = [process.stdout, process.stderr].map((stream) => [stream, stream.isTTY] as const);
  const said: Saying = { out: '', err: '' };
  try {
    process.argv = [process.execPath, MAIN.pathname, ...words];
    process.env = { ...inherited, TERM: 'xterm' };
    process.exitCode = undefined;
    process.chdir(cwd);
    for (const [stream] of ttys) stream.isTTY = false;
    // Another query, another module: `main` runs anew, and what it imports is there already.
    await saying.run(said, () => import(`${MAIN}?${count++}`));
    if (words.includes('--json')) assertTimes(said.out);
    return { code: Number(process.exitCode ?? 0), ...said };
  } finally {
    Object.assign(process, { argv, env, exitCode });
    process.chdir(before);
    for (const [stream, tty] of ttys) stream.isTTY = tty;
    for (const [index, stream] of streams.entries()) {
      for (const listener of stream.listeners('error')) {
        if (!listeners[index]?.includes(listener)) stream.off('error', listener as () => void);
      }
    }
  }
}

/** Every time in an object is ISO 8601: no number in it may be milliseconds or seconds of this century. */
export function assertTimes(json: string): void {
  if (json === '') return;
  JSON.parse(json, (name, value) => {
    if (typeof value !== 'number') return value;
    const isTime =
      (value > 1e12 && value < 5e12) ||
      (/time|at$|issued|before|after|expires|ends/i.test(name) && value > 1e9);
    assert.ok(!isTime, `${name}: ${value} is a time; ISO 8601 is wanted`);
    return value;
  });
}
