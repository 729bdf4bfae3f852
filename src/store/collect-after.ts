const DAY = 86_400_000;

/** From the mark until an object may go. */
export const COLLECT_AFTER = 7 * DAY;
