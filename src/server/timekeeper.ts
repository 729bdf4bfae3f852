export interface TimekeeperOptions {
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /**
   * Called once a second, never twice at once.
   *
   * @param now milliseconds since 1970.
   */
  readonly onTick: (now: number) => Promise<void>;
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
  let running: Promise<void> | undefined;
  const timer = setInterval(() => {
    if (running !== undefined) return;
    running = onTick(clock())
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
