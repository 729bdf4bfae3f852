import type { EndingRow } from '../web/facts.ts';
import type { ForecastItem } from './forecast.ts';

/** What ends when, as the pages show it. */
export function endingRows(items: readonly ForecastItem[]): readonly EndingRow[] {
  return items.map(({ kind, name, ends, daysLeft, due, usedBy, effect }) => ({
    ...{ what: kind, name, due, usedBy, effect },
    ...(ends === undefined ? {} : { ends }),
    ...(daysLeft === undefined ? {} : { daysLeft }),
  }));
}
