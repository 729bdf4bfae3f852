/** A year's worth: whoever steals them holds what is left. */
export const MOST_DAYS = 366;
