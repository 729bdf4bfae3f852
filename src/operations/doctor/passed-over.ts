import { codeOf, IoError } from '../../errors/io.ts';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';

/** What a process that ends meanwhile, or that is another user's, answers to whoever looks into it below /proc. */
const PROCESS_CODES: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'ESRCH',
  'EACCES',
  'EPERM',
  'EINVAL',
]);

/** What another check tells of: here it is only not known. A fault of the program goes on. */
export function toldElsewhere(error: unknown): undefined {
  const isTold = [Refusal, UsageError, Malformed, IoError].some((kind) => error instanceof kind);
  if (!isTold && codeOf(error) === undefined) throw error;
  return undefined;
}

/** Of one process that cannot be looked into. What this machine could not do, too many open files above all, goes on. */
export function ofNobody<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (!PROCESS_CODES.has(codeOf(error) ?? '')) throw error;
    return instead;
  };
}
