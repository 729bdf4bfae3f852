import { UsageError } from '../../errors/usage.ts';
import { demandKey, isKeySegment } from '../backend.ts';

/** A state in a bucket: `s3://BUCKET/PREFIX`, or `s3://BUCKET` for the whole of it. */
export interface BucketPlace {
  /** As it was named. */
  readonly state: string;
  readonly bucket: string;
  /** What stands before each key: empty, or names that end in `/`. */
  readonly prefix: string;
}

/** Names of a bucket that every engine takes, also as a part of a host name. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** Characters. A key may have 1,024 with it. */
const MAX_PREFIX = 256;

/** True for what names a bucket, well or not: no folder is meant. */
export function isBucketState(state: string): boolean {
  return /^s3:/i.test(state);
}

/** @throws UsageError for what cannot be a bucket and a prefix. */
export function bucketPlace(state: string): BucketPlace {
  const [, bucket = '', rest] = /^s3:\/\/([^/]*)(?:\/(.*))?$/s.exec(state) ?? [];
  const named = BUCKET.test(bucket) && !bucket.includes('..');
  const whole = rest === undefined || (rest.length <= MAX_PREFIX && rest.split('/').every(isKeySegment));
  if (!named || !whole)
    throw new UsageError(
      `${JSON.stringify(state)} is no place in a bucket: it is written "s3://BUCKET" or "s3://BUCKET/PREFIX", in small letters, without a slash at its end.`,
    );
  return { state, bucket, prefix: rest === undefined ? '' : `${rest}/` };
}

/** What messages call a key. Throws a `RangeError` for what is none. */
export function subjectOf({ state }: BucketPlace, key: string): string {
  demandKey(key);
  return `${state}/${key}`;
}

/** Where a key lies, as requests name it. */
export function objectAt({ bucket, prefix }: BucketPlace, key: string) {
  return { Bucket: bucket, Key: prefix + key };
}
