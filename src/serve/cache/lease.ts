import { Refusal } from '../../errors/refusal.ts';
import type { PinnedFile } from '../../release/pin.ts';
import type { OpenResource } from '../../release/site.ts';

/** A file that is in the cache, whole and judged, and stays while it is held. */
export interface Lease {
  readonly file: PinnedFile;
  release(): void;
}

/**
 * What is open of it: the lease ends with it.
 *
 * @param lose hears, before whoever reads does, that it is not what was judged any more.
 */
export function leasedReading(
  lease: Lease,
  open: OpenResource,
  lose: (refusal: Refusal) => Promise<void>,
): OpenResource {
  return {
    read: (buffer, position) => open.read(buffer, position),
    check: async () => {
      try {
        await open.check();
      } catch (error) {
        if (error instanceof Refusal) await lose(error);
        throw error;
      }
    },
    close: async () => {
      lease.release();
      await open.close();
    },
  };
}
