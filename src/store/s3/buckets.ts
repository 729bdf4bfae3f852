import { S3Backend } from './backend.ts';
import { bucketPlace, isBucketState } from './location.ts';

/** One a place: what was found out about its engine, and its connections, are for all who ask. */
const buckets = new Map<string, S3Backend>();

/** The bucket that a state lies in; undefined for a folder. @throws UsageError for what is neither. */
export function bucketOf(state: string): S3Backend | undefined {
  if (!isBucketState(state)) return undefined;
  let bucket = buckets.get(state);
  if (!bucket) {
    bucket = new S3Backend(bucketPlace(state));
    buckets.set(state, bucket);
  }
  return bucket;
}
