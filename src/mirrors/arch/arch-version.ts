import { Refusal } from '../../errors/refusal.ts';

const DAY = 86_400_000;

/** `2026.11.01`, a day that exists. Versions of one form sort as text. */
export function isArchVersion(text: string): boolean {
  const [, year, month, day] = /^([0-9]{4})\.([0-9]{2})\.([0-9]{2})$/.exec(text) ?? [];
  const iso = `${year}-${month}-${day}`;
  const at = Date.parse(`${iso}T00:00:00Z`);
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(iso);
}

/** Of `arch/version`: one line. @throws Refusal `malformed`. */
export function versionOf(what: string, bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1').replace(/\n$/, '');
  if (isArchVersion(text)) return text;
  throw new Refusal('malformed', `${what} holds no version of Arch's, as in 2026.11.01.`, { path: what });
}

/**
 * Nobody signs which version a tree is. One that lies in the future would stand above all that follow, for ever.
 *
 * @param now milliseconds since 1970. @throws Refusal `not-yet-valid`.
 */
export function demandPast(what: string, version: string, now: number): void {
  if (Date.parse(`${version.replaceAll('.', '-')}T00:00:00Z`) <= now + DAY) return;
  throw new Refusal('not-yet-valid', `${what} names version ${version}, a day that is still to come.`, {
    version,
  });
}
