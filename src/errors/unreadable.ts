import { Refusal } from './refusal.ts';

/**
 * What is said of a file or folder that could not be opened or read: that it is not there, or what the system says.
 *
 * @param what as the sentence begins; default: the path.
 */
export function unreadable(path: string, error: unknown, what = path): Refusal {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new Refusal('absent', `${what} does not exist.`, { path });
  }
  const errno = code ?? message;
  return new Refusal('absent', `${what} cannot be read: ${errno}.`, { path, errno });
}
