import { UsageError } from '../errors/usage.ts';
import { isOrigin } from '../formats/records/countersignature.ts';

/** An address that a record of provenance can hold. @throws UsageError */
export function demandOrigin(origin: string): void {
  if (isOrigin(origin)) return;
  throw new UsageError(
    `${JSON.stringify(origin)} is no origin; write http://…, https://…, rsync://…, s3://… or file://….`,
  );
}
