import { BOOT_OUTCOMES } from '../boots/boot-outcome.ts';
import type { BootQuery } from '../boots/boot-query.ts';
import { decodeBootId, STAGES } from '../boots/receipt.ts';
import { REFUSAL_CODES } from '../errors/refusal.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import { timeOf } from '../formats/records/lines.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';

/** Which boots a page is asked for. */
export interface AskedBoots {
  readonly query: BootQuery;
  /** The id of a boot: only older ones. */
  readonly before: string | undefined;
  /** What was understood, as it was written. */
  readonly asked: Readonly<Record<string, string>>;
  /** What was not, one sentence each. */
  readonly wrong: readonly string[];
}

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Reads `?machine=…&outcome=…&stage=…&code=…&release=…&since=…&failed=1&before=…`. A field that stands empty was not asked
 * for, since forms send those, too.
 *
 * @param now milliseconds since 1970.
 */
export function askedBoots(params: URLSearchParams, now: number): AskedBoots {
  const asked: Record<string, string> = {};
  const wrong: string[] = [];
  const field = <T>(name: string, read: (text: string) => T | undefined, what: string): T | undefined => {
    const text = params.get(name)?.trim() ?? '';
    if (text === '') return undefined;
    const value = read(text);
    if (value === undefined) wrong.push(`"${text.slice(0, 60)}" is ${what}.`);
    else asked[name] = text;
    return value;
  };
  const oneOf = <T extends string>(name: string, known: readonly T[], what: string): T | undefined =>
    field(name, (text) => known.find((each) => each === text), what);
  const given = {
    machine: field('machine', claimedMac, 'no address of a card, such as 52:54:00:12:34:56'),
    outcome: oneOf('outcome', BOOT_OUTCOMES, 'no outcome of a boot'),
    stage: oneOf('stage', STAGES, 'no stage of a boot'),
    code: oneOf('code', REFUSAL_CODES, 'no reason of a refusal'),
    release: field('release', (text) => (isReleaseId(text) ? text : undefined), 'no release, NAME/VERSION'),
    since: field(
      'since',
      (text) => sinceOf(text, now),
      'no time: write 30m, 12h, 7d or 2026-11-01T00:00:00Z',
    ),
    failed: field('failed', (text) => text === '1' || undefined, 'neither 1 nor left out'),
  };
  const before = field('before', (text) => (decodeBootId(text) ? text : undefined), 'no id of a boot');
  const query = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { query, before, asked, wrong };
}

function sinceOf(text: string, now: number): number | undefined {
  const [, number, unit = ''] = /^([1-9][0-9]{0,5})([mhd])$/.exec(text) ?? [];
  return number === undefined ? timeOf(text) : now - Number(number) * (UNITS[unit] ?? 0);
}
