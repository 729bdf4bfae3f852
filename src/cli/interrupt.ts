/** Somebody pressed Ctrl-C, or the system asked for an end, while there was nothing to undo. */
export class Interrupted extends Error {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals, left = 'nothing was written') {
    super(`Interrupted by ${signal}: ${left}.`);
    this.name = 'Interrupted';
    this.signal = signal;
  }
}

/**
 * Runs work that must not be cut off in the middle of a file. `stop` throws `Interrupted` once a signal has
 * come: the work calls it wherever it can end without leaving anything behind. `ended` aborts then, for whoever waits
 * for somebody else, a signer above all: a program of one has a session of its own, and no Ctrl-C reaches it. A
 * second signal ends the process as signals do.
 *
 * @param left what stands there by now, where it is not nothing.
 */
export async function interruptible<T>(
  work: (stop: () => void, ended: AbortSignal) => Promise<T>,
  left?: () => string | undefined,
): Promise<T> {
  const controller = new AbortController();
  const { signal: ended } = controller;
  const note = (signal: NodeJS.Signals): void => controller.abort(new Interrupted(signal, left?.()));
  process.once('SIGINT', note);
  process.once('SIGTERM', note);
  try {
    return await work(() => ended.throwIfAborted(), ended);
  } finally {
    process.off('SIGINT', note);
    process.off('SIGTERM', note);
  }
}
