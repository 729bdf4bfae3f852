/** How long somebody else may take to sign. */
export interface TimeLimit {
  /** For the message; and for `after`. */
  readonly seconds: number;
  /** A signal that aborts once so many milliseconds have passed. `AbortSignal.timeout` where nobody says otherwise. */
  readonly after?: (milliseconds: number) => AbortSignal;
  /** Aborts where nobody waits any more, as after Ctrl-C: whoever is being asked is ended, and its reason thrown. */
  readonly ended?: AbortSignal;
}

/** What a caller may say of it where the seconds stand elsewhere. */
export type Waiting = Pick<TimeLimit, 'after' | 'ended'>;

export const DEFAULT_TIME_LIMIT: TimeLimit = { seconds: 60 };

/** Starts to count. */
export function startTimeLimit({ seconds, after }: TimeLimit): AbortSignal {
  return after ? after(seconds * 1000) : AbortSignal.timeout(seconds * 1000);
}

/** Calls `act` when a signal aborts, at once where it has. @returns what takes that back. */
export function onAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal?.aborted) act();
  else signal?.addEventListener('abort', act);
  return () => signal?.removeEventListener('abort', act);
}
