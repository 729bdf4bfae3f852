/** Somebody pressed Ctrl-C, or the system asked for an end, while there was still nothing to undo. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals) {
    super(`Interrupted by ${signal}: nothing was written.`);
    this.name = 'Interrupted';
    this.signal = signal;
  }
}

/**
 * Runs work that must not be cut off in the middle of a file. `stop` throws `Interrupted` once a signal has
 * come: the work calls it wherever it can end without leaving anything behind. A second signal ends the
 * process as signals do.
 */
export async function interruptible<T>(work: (stop: () => void) => Promise<T>): Promise<T> {
  let came: NodeJS.Signals | undefined;
  const note = (signal: NodeJS.Signals): void => {
    came = signal;
  };
  process.once('SIGINT', note);
  process.once('SIGTERM', note);
  try {
    return await work(() => {
      if (came !== undefined) throw new Interrupted(came);
    });
  } finally {
    process.off('SIGINT', note);
    process.off('SIGTERM', note);
  }
}
