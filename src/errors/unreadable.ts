import { cannotRead, isAbsent } from './io.ts';
import { Refusal } from './refusal.ts';

/**
 * What is said of a file or folder that had to be there and could not be opened or read: a refusal (`absent`) where it
 * is not there, and otherwise an I/O error, which judges nothing.
 *
 * @param what as the sentence begins; default: the path.
 */
export function unreadable(path: string, error: unknown, what = path): unknown {
  if (isAbsent(error)) return new Refusal('absent', `${what} does not exist.`, { path });
  if (error instanceof Refusal) return error;
  return cannotRead(path, error, what);
}
