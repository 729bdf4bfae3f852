import { IoError } from '../errors/io.ts';
import { objectKey } from '../store/objects.ts';
import { bucketOf } from '../store/s3/buckets.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { Configuration } from './configuration.ts';
import type { Elsewhere } from './fetched-payload.ts';
import { verifiers } from './steering.ts';

/** Bytes: what is smaller is sooner sent than sent away. */
const LARGE = 1024 * 1024;
/** Seconds for which a presigned address is good: long enough for a slow machine to begin. */
const PRESIGNED_S = 3600;

/** Where clients that follow are sent for large files, as the operator's configuration says; undefined: nowhere. */
export function elsewhereOf(state: string | undefined, configuration: Configuration): Elsewhere | undefined {
  const { redirect } = configuration.s3;
  const bucket = state === undefined ? undefined : bucketOf(state);
  if (redirect === undefined || !bucket) return undefined;
  const known = new WeakMap<ServableRelease, ReturnType<typeof verifiers>>();
  return async (of, path, { size, sha256 }, client) => {
    if (size < LARGE) return undefined;
    const who = known.get(of) ?? verifiers(of, configuration);
    known.set(of, who);
    if (who.get(path) !== client) return undefined;
    if (redirect === 'presigned') {
      return bucket.presigned(objectKey(sha256), PRESIGNED_S).catch((error: unknown) => {
        // Without credentials, say: then it comes from here, or it is said why not.
        if (error instanceof IoError) return undefined;
        throw error;
      });
    }
    const steps = [...of.release.split('/'), ...path.split('/')].map(encodeURIComponent);
    return [redirect.replace(/\/+$/, ''), 'releases', ...steps].join('/');
  };
}
