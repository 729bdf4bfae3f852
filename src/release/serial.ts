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
