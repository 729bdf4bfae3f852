import type { PinnedFile } from '../../release/pin.ts';

/** A file that is in the cache, whole and judged, and stays while it is held. */
export interface Lease {
  readonly file: PinnedFile;
  release(): void;
}
