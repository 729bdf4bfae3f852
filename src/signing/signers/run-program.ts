import { spawn } from 'node:child_process';
import { type FileHandle, mkdtemp, open, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { Refusal, type RefusalCode } from '../../errors/refusal.ts';
import { explain, isGone } from '../../files/atomic-file.ts';
import { printableText } from '../../formats/records/printable-text.ts';
import { onAbort, startTimeLimit, type TimeLimit } from './time-limit.ts';

export interface Program {
  /** For messages: who is asked. */
  readonly name: string;
  /** Started as they are: no shell looks at them. */
  readonly argv: readonly [string, ...string[]];
  /** Added to this process's environment. */
  readonly env: Readonly<Record<string, string>>;
  /** What it gets on its standard input. */
  readonly input: Uint8Array;
  /**
   * What it gets on descriptor 3. Arguments and environment are for everybody to see who may list processes;
   * a pipe is not.
   */
  readonly secret?: Uint8Array;
  /** Most bytes of an answer. */
  readonly limit: number;
  readonly timeLimit: TimeLimit;
}

/** Bytes of standard error that are kept for the message. */
const SAID = 800;

const START: Readonly<Record<string, (file: string) => string>> = {
  ENOENT: (file) => `there is no program "${file}"; install it, or name another`,
  EACCES: (file) => `"${file}" may not be executed; run "chmod +x" on it`,
};

/**
 * Runs a program and answers with what it wrote to its standard output. It has a session of its own, so it
 * asks nothing on the terminal and gets none of its signals; when it is late or says too much, or when nobody waits
 * for it any more, its whole process group is killed, since a child of its own may hold the pipe open.
 *
 * @throws Refusal `unreachable` where it cannot be started, is late or fails; `malformed` for an answer of no
 *   bytes or too many.
 */
export async function runProgram(program: Program): Promise<Uint8Array> {
  const input = await openInput(program.input);
  try {
    return await run(program, input.fd);
  } finally {
    await input.close().catch(() => {});
  }
}

async function run(
  { name, argv, env, secret, limit, timeLimit }: Program,
  input: number,
): Promise<Uint8Array> {
  const [file, ...args] = argv;
  const child = spawn(file, args, {
    detached: true,
    env: { ...process.env, ...env },
    stdio: [input, 'pipe', 'pipe', secret === undefined ? 'ignore' : 'pipe'],
  });
  // None is there when the process has no descriptors left.
  const { stdout: output, stderr: errors } = child;
  const whisper = child.stdio?.[3] as Writable | null | undefined;
  const undo: (() => void)[] = [];
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      const answer: Buffer[] = [];
      let size = 0;
      let said: Uint8Array = new Uint8Array(0);
      let ended: string | undefined;
      const refuse = (code: RefusalCode, fact: string): void => {
        const words = printableText(said, SAID);
        reject(new Refusal(code, `${name} ${fact}${words && `; it said: ${words}`}.`, { signer: name }));
      };
      child.on('error', (error: NodeJS.ErrnoException) => {
        const code = error.code ?? '';
        refuse(
          'unreachable',
          `cannot be asked: ${START[code]?.(file) ?? `"${file}" does not start: ${code}`}`,
        );
      });
      output?.on('data', (chunk: Buffer) => {
        size += chunk.length;
        answer.push(chunk);
        if (size > limit) refuse('malformed', `answered with more than ${limit} bytes: that is no signature`);
      });
      errors?.on('data', (chunk: Buffer) => {
        // One more than is shown, so that the message says that something was cut.
        said = Buffer.concat([said, chunk]).subarray(-(SAID + 1));
      });
      child.on('exit', (status, signal) => {
        ended = signal === null ? `ended with status ${status}` : `was ended by ${signal}`;
        // Whatever it left behind keeps the pipes open; of a failure nothing more is to be expected.
        if (status !== 0) killGroup(child.pid);
      });
      child.on('close', (status) => {
        if (status !== 0) refuse('unreachable', `${ended ?? 'ended'} and gave no signature`);
        else if (size === 0) refuse('malformed', 'ended well, but gave no signature');
        else resolve(Buffer.concat(answer));
      });
      const onExpiry = (): void => {
        const rest = 'a process that it left behind still holds its output open';
        const fact = ended === undefined ? 'it was stopped' : `it ${ended}, but ${rest}`;
        refuse('unreachable', `gave no signature within ${timeLimit.seconds} s: ${fact}`);
      };
      undo.push(
        onAbort(startTimeLimit(timeLimit), onExpiry),
        onAbort(timeLimit.ended, () => reject(timeLimit.ended?.reason)),
      );
      // A program that ends without reading is judged by how it ends.
      whisper?.on('error', () => {});
      whisper?.end(secret);
    });
  } catch (error) {
    killGroup(child.pid);
    throw error;
  } finally {
    for (const back of undo) back();
    for (const pipe of [output, errors, whisper]) pipe?.destroy();
  }
}

/**
 * A file without a name: many programs take the name of a file only and are given /dev/stdin, which Linux does
 * not open when it is a socket, as Node's pipes are.
 */
async function openInput(octets: Uint8Array): Promise<FileHandle> {
  const prefix = join(tmpdir(), 'bootseal-');
  let folder: string | undefined;
  try {
    folder = await mkdtemp(prefix);
    const path = join(folder, 'input');
    await writeFile(path, octets, { mode: 0o600 });
    return await open(path);
  } catch (error) {
    throw explain(error, folder ?? prefix);
  } finally {
    // It is no secret: a digest.
    if (folder !== undefined) await isGone(folder);
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody of it is left.
  }
}
