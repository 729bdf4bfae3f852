import { UsageError } from '../errors/usage.ts';
import { statIfThere } from '../files/read-if-there.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { isBucketState } from '../store/s3/location.ts';
import { FolderSource } from './folder-source.ts';
import { HttpSource } from './http-source.ts';
import type { MirrorSource } from './mirror-source.ts';
import { RecordsSource } from './records-source.ts';
import { type RsyncOptions, RsyncSource } from './rsync-source.ts';
import { WebClient, type WebClientOptions } from './web-client.ts';

/**
 * Opens what an operator named: `http(s)://HOST/…`, `rsync://HOST/MODULE/…`, `HOST::MODULE`, `s3://BUCKET/PREFIX`, or a
 * folder. The caller closes it.
 *
 * @throws UsageError for what is none of these.
 */
export async function openSource(
  place: string,
  web: WebClientOptions,
  rsync: RsyncOptions,
): Promise<MirrorSource> {
  if (/^https?:\/\//i.test(place)) return new HttpSource(place, new WebClient(web));
  if (isBucketState(place)) return new RecordsSource(place, recordsOf(place));
  if (/^rsync:\/\//.test(place) || /^[A-Za-z0-9.-]+::/.test(place)) return new RsyncSource(place, rsync);
  if ((await statIfThere(place))?.isDirectory()) return new FolderSource(place);
  throw new UsageError(`${JSON.stringify(place)} is no address of a mirror and no folder.`);
}
