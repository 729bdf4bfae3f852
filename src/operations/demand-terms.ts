import { UsageError } from '../errors/usage.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import type { Layout } from '../release/layout.ts';
import { serialFor } from '../release/serial.ts';
import type { SealTermsRequest } from '../signing/seal-terms.ts';

/** Milliseconds by which another clock may be ahead of this one: clocks in local time are up to a day off. */
const AHEAD = 86_400_000;

/**
 * What a tree shall be sealed with, where it can be meant: a serial, and a date that has come.
 *
 * @throws UsageError
 */
export function demandTerms(layout: Layout, request: SealTermsRequest): SealTermsRequest {
  const { issued, now } = request;
  demandIssued(issued, now);
  return { ...request, serial: serialFor(layout.release, request.serial) };
}

/**
 * No machine would take what is issued in the future before that day comes: iPXE and early userspace look at dates.
 *
 * @param issued milliseconds since 1970; undefined: nobody named a date.
 * @throws UsageError for a date more than 24 hours ahead.
 */
export function demandIssued(issued: number | undefined, now: number): void {
  if (issued === undefined || issued <= now + AHEAD) return;
  throw new UsageError(
    `The date of issue ${isoSeconds(issued)} is more than 24 hours ahead of this machine's clock (${isoSeconds(now)}); name an earlier one, or set the clock.`,
  );
}
