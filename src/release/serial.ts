import { UsageError } from '../errors/usage.ts';

/**
 * The serial of a release whose version begins with a date: YYYYMMDDNN, where NN is a number of up to two
 * digits that follows the date (`2026.11.01-2`). Undefined for other versions and for dates that do not exist.
 */
export function serialOf(release: string): number | undefined {
  const version = release.slice(release.indexOf('/') + 1);
  const match = /^(\d{4})[.-]?(\d\d)[.-]?(\d\d)(?:[.-](\d{1,2}))?$/.exec(version);
  if (!match) return undefined;
  const [, year = '', month = '', day = '', count = '0'] = match;
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  if (date.toISOString().slice(0, 10) !== `${year}-${month}-${day}`) return undefined;
  return Number(`${year}${month}${day}${count.padStart(2, '0')}`);
}

/**
 * The serial that a release gets: the operator's, else that of its version.
 *
 * @throws UsageError where there is neither, or where it is none.
 */
export function serialFor(release: string, wish: number | undefined): number {
  const serial = wish ?? serialOf(release);
  if (serial === undefined)
    throw new UsageError(
      `The version of ${release} does not begin with a date; give it a --serial N that grows.`,
    );
  if (Number.isSafeInteger(serial) && serial > 0) return serial;
  throw new UsageError(`${serial} is no serial; write a whole number above 0.`);
}
