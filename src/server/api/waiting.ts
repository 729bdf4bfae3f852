import { z } from 'zod';
import { type ShellWord, shellLine } from '../../formats/script/shell-line.ts';

/** What is answered where a signature is needed and nobody here can make it: nothing of it was done, or it does not count. */
export const WAITING = z.strictObject({
  answer: z.literal('waiting for a signature'),
  /** Why, where somebody was asked. */
  why: z.string().optional(),
  /** What was asked for: facts, to be taken to where the keys are. */
  request: z.record(z.string(), z.unknown()),
  /** What does it there, for a shell in which STATE, ANCHORS and KEYS are set to these folders. */
  command: z.string(),
});

export const STATE: ShellWord = { variable: 'STATE' };
export const ANCHORS: ShellWord = { variable: 'ANCHORS' };
export const KEYS: ShellWord = { variable: 'KEYS' };

export function waiting(
  request: Readonly<Record<string, unknown>>,
  command: readonly ShellWord[],
  why?: string,
): z.input<typeof WAITING> {
  return {
    answer: 'waiting for a signature',
    ...(why === undefined ? {} : { why }),
    request,
    command: shellLine(command),
  };
}
