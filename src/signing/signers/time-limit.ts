/** How long somebody else may take to sign. */
export interface TimeLimit {
  /** For the message; and for `after`. */
  readonly seconds: number;
  /** A signal that aborts once so many milliseconds have passed. `AbortSignal.timeout` where nobody says otherwise. */
  readonly after?: (milliseconds: number) => AbortSignal;
}

export const DEFAULT_TIME_LIMIT: TimeLimit = { seconds: 60 };

/** Starts to count. */
export function startTimeLimit({ seconds, after }: TimeLimit): AbortSignal {
  return after ? after(seconds * 1000) : AbortSignal.timeout(seconds * 1000);
}
