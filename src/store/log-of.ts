import { FolderBackend } from './folder-backend.ts';
import { BucketLog } from './log-bucket.ts';
import { homeOf } from './log-files.ts';
import { FolderLog } from './log-folder.ts';
import type { LogStore } from './log-store.ts';

/** The log of a state, wherever that is. @param state its name, or the log itself where the caller has it. */
export function logOf(state: string | LogStore): LogStore {
  if (typeof state !== 'string') return state;
  const home = homeOf(state);
  return home.records instanceof FolderBackend ? new FolderLog(state) : new BucketLog(home);
}
