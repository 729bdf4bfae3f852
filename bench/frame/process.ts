import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { Sample } from './compare.ts';

/** Clock ticks a second in /proc/PID/stat; Linux gives user space 100 on every architecture. */
const TICKS = 100;
/** Fields of /proc/PID/stat behind the name, counted from 0: user and system time. */
const [UTIME, STIME] = [11, 12];
/** What a tool said last is enough to know what was wrong. */
const LAST_WORDS = 2000;

/**
 * Runs a command to its end, start-up included, with its output thrown away.
 *
 * @returns wall time, and processor time of it and of all that it started.
 * @throws Error with its last words where it does not end with 0.
 */
export async function timedRun(
  command: string,
  words: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly input?: string; readonly cwd?: string } = {},
): Promise<Sample> {
  const { input, ...rest } = options;
  const before = childrenTime(await readFile('/proc/self/stat', 'latin1'));
  const begun = performance.now();
  const child = spawn(command, words, {
    ...rest,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr?.on('data', (piece: Buffer) => {
    said = (said + piece.toString('utf8')).slice(-LAST_WORDS);
  });
  child.stdin?.end(input);
  const ended = await new Promise<number | string | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  const seconds = (performance.now() - begun) / 1000;
  if (ended !== 0) throw new Error(`${command} ${words.join(' ')} ended with ${ended}: ${said}`);
  // What others of this process's children used is counted along with it: parts run one command at a time.
  const after = childrenTime(await readFile('/proc/self/stat', 'latin1'));
  return { seconds, processor: after - before };
}

/** Several, one after another, as one job. */
export async function timedRuns(commands: readonly (readonly [string, ...string[]])[]): Promise<Sample> {
  let [seconds, processor] = [0, 0];
  for (const [command, ...words] of commands) {
    const sample = await timedRun(command, words);
    seconds += sample.seconds;
    processor += sample.processor ?? 0;
  }
  return { seconds, processor };
}

/** Seconds of processors that children of a process have used which have ended. */
function childrenTime(stat: string): number {
  const fields = fieldsOf(stat);
  return (Number(fields[UTIME + 2]) + Number(fields[STIME + 2])) / TICKS;
}

/** Seconds of processors that a process has used so far, its threads included. */
export async function processorTime(pid: number): Promise<number> {
  const fields = fieldsOf(await readFile(`/proc/${pid}/stat`, 'latin1'));
  return (Number(fields[UTIME]) + Number(fields[STIME])) / TICKS;
}

/** The most that a process has had in memory, in MB (proc(5), VmHWM). */
export async function mostMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  return (Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024) / 1e6;
}

function fieldsOf(stat: string): readonly string[] {
  return stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
}
