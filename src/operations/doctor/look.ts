import { codeOf, IoError, inWords } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import type { CheckName, Finding } from './finding.ts';

/**
 * Runs one check. What it throws is told apart: a verdict or an operator's mistake is a fault of what was looked at, and
 * a disk or a permission kept us from looking; then the other checks go on.
 *
 * @param advice what to do where it is refused, one sentence.
 */
export async function look(
  check: CheckName,
  work: () => Promise<readonly Finding[]> | readonly Finding[],
  advice: string,
): Promise<readonly Finding[]> {
  try {
    return await work();
  } catch (error) {
    const found = error instanceof Error ? withoutStop(error.message) : String(error);
    if (error instanceof Refusal) return [{ check, state: 'fault', code: error.code, found, advice }];
    if (error instanceof UsageError) return [{ check, state: 'fault', code: 'mistake', found, advice }];
    const code = codeOf(error);
    if (!(error instanceof IoError) && code === undefined) throw error;
    const why = error instanceof IoError ? found : inWords(error);
    return [
      {
        ...{ check, state: 'not-checked', found: why, couldNotLook: true },
        advice: 'Run it as a user who may read that, or as root.',
      },
    ];
  }
}

/** A cell of a table is no sentence. */
export function withoutStop(sentence: string): string {
  return sentence.replace(/\.$/, '');
}
