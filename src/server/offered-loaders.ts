import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import type { Log } from '../serve/event-log.ts';
import { isBucketState } from '../store/s3/location.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import type { Anchors } from '../trust/anchors.ts';
import type { AnchorFolders } from '../trust/trust-roots.ts';
import type { Configuration } from './configuration.ts';
import { type OfferedLoader, readLoaders } from './loader-files.ts';

/** Where a server's loaders may lie, and whose machines they are for. */
export interface LoaderPlaces {
  readonly loaders?: string;
  readonly state?: string;
  readonly anchors?: AnchorFolders;
}

/** The loaders that a server offers: those of the folder that was named, else of its state. @throws UsageError, Refusal, IoError */
export async function offeredLoaders(
  { loaders: named, state, anchors = [] }: LoaderPlaces,
  { loaders: pins }: Configuration,
): Promise<ReadonlyMap<string, OfferedLoader>> {
  const own = state === undefined || isBucketState(state) ? undefined : join(state, 'loaders');
  const loaders = named ?? (own !== undefined && (await isThere(own)) ? own : undefined);
  if (loaders === undefined) {
    const [pinned] = Object.keys(pins);
    if (pinned === undefined) return new Map();
    throw new UsageError(`The configuration names the loader ${pinned}, and no folder of loaders is given.`);
  }
  const sites: Anchors[] = [];
  for (const folder of typeof anchors === 'string' ? [anchors] : anchors)
    sites.push(await readAnchorFolder(folder));
  return readLoaders(loaders, { pins, sites });
}

/** What begins the trust is said by name and digest; what does not fit this site, by name and reason. */
export function announceLoaders(loaders: ReadonlyMap<string, OfferedLoader>, log: Log): void {
  for (const { name, size, sha256, demanded, report } of loaders.values()) {
    const facts = { loader: name, size, sha256, demanded, verifies: report?.verifies };
    log.info(facts, 'offering a loader, pinned to this digest');
    for (const warning of report?.warnings ?? []) log.warn({ loader: name, sha256 }, `${name} ${warning}`);
  }
}
