export interface TimekeeperOptions {
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /**
   * Called once a second, never twice at once.
   *
   * @param now milliseconds since 1970.
   * @param back the clock was set back since the last call, so that whatever had ended may be valid again.
   */
  readonly onTick: (now: number, back: boolean) => Promise<void>;
  /** Called with what `onTick` rejects with: one bad second ends nothing. */
  readonly onFault: (error: unknown) => void;
}

/** Milliseconds. A page that tells the truth within a second has to look that often. */
const EVERY = 1000;

/**
 * Looks at the clock every second. A timer that waits for a date would not notice a clock that is set, nor the hours
 * that a machine slept.
 *
 * @returns how to end it: resolves when no call is under way any more.
 */
export function keepTime({ clock, onTick, onFault }: TimekeeperOptions): () => Promise<void> {
  let last = clock();
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    if (running !== undefined) return;
    const now = clock();
    const back = now < last;
    last = now;
    running = onTick(now, back)
      .catch(onFault)
      .finally(() => {
        running = undefined;
      });
  }, EVERY);
  timer.unref();
  return async () => {
    clearInterval(timer);
    await running;
  };
}
