/**
 * Something that this machine or the other side could not do: a disk, a permission, a limit, a port. It says nothing
 * about the content, so it is no verdict; whoever tries again may succeed. Exit status 3.
 */
export class IoError extends Error {
  /** The file, folder or address. */
  readonly path: string;
  /** The system's code (`EACCES`, `ENOSPC`); undefined where there was none. */
  readonly code: string | undefined;

  constructor(message: string, path: string, code: string | undefined, options?: ErrorOptions) {
    super(message, options);
    this.name = 'IoError';
    this.path = path;
    this.code = code;
  }
}

/**
 * True only where a name is not there: ENOENT, and ENOTDIR, which is a name below a file. Whatever else keeps a file
 * from being read says nothing about whether it exists (DESIGN §3, rule 12).
 */
export function isAbsent(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** The system's error code; undefined for anything that the system did not say. */
export function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

const WHY: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'part of its path is not a folder',
  EISDIR: 'it is a folder',
  EFBIG: 'the file would be larger than is allowed',
  EMFILE: 'this process has too many open files; raise its limit (ulimit -n)',
  ENFILE: 'this machine has too many open files',
  ENOMEM: 'this machine is out of memory',
  EIO: 'the disk reports an error; look at the system log',
  ELOOP: 'it is a symbolic link',
  ENAMETOOLONG: 'its name is too long',
  EPIPE: 'nobody reads it any more',
};

/** A system error code in words, with the code where the words might not be enough. */
export function inWords(error: unknown): string {
  const code = codeOf(error);
  const words = WHY[code ?? ''];
  if (words === undefined) return code ?? (error instanceof Error ? error.message : String(error));
  return `${words} (${code})`;
}

/** What a failed read is, other than that nothing is there. @param what as the sentence begins; default: the path. */
export function cannotRead(path: string, error: unknown, what = path): IoError {
  return new IoError(`${what} cannot be read: ${inWords(error)}.`, path, codeOf(error), { cause: error });
}
