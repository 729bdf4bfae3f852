import { z } from 'zod';
import { REFUSAL_CODES } from '../../errors/refusal.ts';
import { claimedMac } from '../../formats/net/machine-claims.ts';
import { isChannelName, isReleaseId } from '../../formats/records/safe-path.ts';

/** What many of the API's requests and answers hold. */

/** A card's address in any spelling that people use; it is read as `52:54:00:12:34:56`. */
export const MAC = z
  .string()
  .regex(/^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$/, "is no card's address; write 52:54:00:12:34:56")
  .refine((text) => claimedMac(text) !== undefined, "is no card's address: a group's, or zero")
  .overwrite((text) => claimedMac(text) ?? text)
  .meta({ description: 'A network card: 52:54:00:12:34:56, or with dashes.' });

export const CHANNEL = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'is no name of a channel')
  .refine(isChannelName, 'is no name of a channel')
  .meta({ description: 'The name of a channel.' });

export const RELEASE = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\/[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/, 'is no NAME/VERSION')
  .refine(isReleaseId, 'is no NAME/VERSION')
  .meta({ description: 'A release as NAME/VERSION.' });

/** One of the two parts of it. */
export const RELEASE_PART = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/);

export const SHA256 = z.string().regex(/^[0-9a-f]{64}$/);

/** As everything here says times. */
export const TIME = z.iso.datetime({ precision: 3 });

export const COUNT = z.int().min(0);

export const NOTHING = z.strictObject({});

/** How much of something without end is asked for. */
export const LIMIT = whole(1, 500).default(50).meta({ description: 'At most so many.' });

/** Why something is not accepted, or is not offered. */
export const REFUSED = z.strictObject({ code: z.enum(REFUSAL_CODES), message: z.string() });

/** A whole number as a query writes it. */
export function whole(least: number, most: number) {
  return z.preprocess(
    (text) => (typeof text === 'string' && /^(0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : text),
    z.int().min(least).max(most),
  );
}

/** `true` or `false` as a query writes it. */
export function flag() {
  return z.preprocess((text) => (text === 'true' ? true : text === 'false' ? false : text), z.boolean());
}

/** A time of a query: ISO 8601 in UTC, read as milliseconds since 1970. */
export const ASKED_TIME = z.iso
  .datetime()
  .transform((text) => Date.parse(text))
  .meta({ description: 'ISO 8601 in UTC: 2026-11-01T00:00:00Z.' });

/** Milliseconds since 1970 → as answers write it. */
export function iso(time: number): string {
  return new Date(time).toISOString();
}

/** The same where there is one. */
export function isoIf(time: number | undefined): string | undefined {
  return time === undefined ? undefined : iso(time);
}
