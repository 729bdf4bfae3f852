import { BucketShelf } from './bucket-shelf.ts';
import { recordsOf } from './folder-backend.ts';
import { FolderShelf } from './folder-shelf.ts';
import type { ReleaseShelf } from './release-shelf.ts';
import { isBucketState } from './s3/location.ts';

/** Where the releases of a state are. */
export function shelfOf(state: string): ReleaseShelf {
  return isBucketState(state) ? new BucketShelf(state, recordsOf(state)) : new FolderShelf(state);
}
