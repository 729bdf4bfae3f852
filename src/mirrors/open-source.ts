import { UsageError } from '../errors/usage.ts';
import { statIfThere } from '../files/read-if-there.ts';
import { FolderSource } from './folder-source.ts';
import { HttpSource } from './http-source.ts';
import type { MirrorSource } from './mirror-source.ts';
import { WebClient, type WebClientOptions } from './web-client.ts';

/**
 * Opens what an operator named: `http(s)://HOST/…`, or a folder. The caller closes it.
 *
 * @throws UsageError for what is neither.
 */
export async function openSource(place: string, options: WebClientOptions): Promise<MirrorSource> {
  if (/^https?:\/\//i.test(place)) return new HttpSource(place, new WebClient(options));
  if ((await statIfThere(place))?.isDirectory()) return new FolderSource(place);
  throw new UsageError(`${JSON.stringify(place)} is no address of a mirror and no folder.`);
}
