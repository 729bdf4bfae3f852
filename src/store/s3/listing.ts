import { Refusal } from '../../errors/refusal.ts';
import { MAX_NAMES } from '../backend.ts';
import { listedKey } from './answer.ts';
import type { Engine } from './engine.ts';
import { NotS3 } from './fault.ts';
import type { BucketPlace } from './location.ts';

/** Names on one page of a list: S3's own limit. */
const PAGE = 1000;
/** Pages of one list. Full ones hold ten times what is listed; an engine that gives empty ones for ever is no engine. */
const MAX_PAGES = (MAX_NAMES / PAGE) * 10;

/** What a list says of one key. Names are without what all of them begin with. */
export interface Listed {
  readonly name: string;
  /** Bytes. */
  readonly size: number | undefined;
  readonly etag: string | undefined;
  /** When it was written last; milliseconds since 1970, by the engine's clock. */
  readonly modified: number | undefined;
}

export interface ListPage {
  readonly keys: readonly Listed[];
  /** Names that end in `/`: with a delimiter, where keys go on below. */
  readonly prefixes: readonly string[];
}

/**
 * Gives page for page of what is below a prefix to `take`, which answers how many names it keeps: no more than one page
 * is in memory here.
 *
 * @param prefix a key, or empty for the whole state.
 * @throws Refusal `too-large` once more than `MAX_NAMES` are kept; EngineFault.
 */
export async function eachPage(
  engine: Engine,
  place: BucketPlace,
  prefix: string,
  delimiter: '/' | undefined,
  take: (page: ListPage) => number,
): Promise<void> {
  const start = `${place.prefix}${prefix === '' ? '' : `${prefix}/`}`;
  const subject = prefix === '' ? place.state : `${place.state}/${prefix}`;
  let token: string | undefined;
  for (let pages = 1; ; pages++) {
    const { next, ...page } = await readPage(engine, place.bucket, subject, start, delimiter, token);
    if (take(page) > MAX_NAMES || (next !== undefined && pages >= MAX_PAGES))
      throw new Refusal('too-large', `${subject} holds more than ${MAX_NAMES} names; no state has so many.`, {
        path: subject,
      });
    token = next;
    if (token === undefined) return;
  }
}

function readPage(
  engine: Engine,
  bucket: string,
  subject: string,
  start: string,
  delimiter: '/' | undefined,
  token: string | undefined,
): Promise<ListPage & { readonly next: string | undefined }> {
  return engine.ask(subject, 'listed', async ({ client, sdk, abortSignal }) => {
    const answer = await client.send(
      new sdk.ListObjectsV2Command({
        Bucket: bucket,
        Prefix: start,
        Delimiter: delimiter,
        MaxKeys: PAGE,
        EncodingType: 'url',
        ContinuationToken: token,
      }),
      { abortSignal },
    );
    // A page of HTML has none of it, and would pass for an empty list.
    if (answer.Name !== bucket || answer.IsTruncated === undefined)
      throw new NotS3('something that is no list of this bucket');
    const next = answer.IsTruncated ? answer.NextContinuationToken : undefined;
    if (answer.IsTruncated && (next === undefined || next === '' || next === token))
      throw new NotS3('a list that does not go on');
    const below = (text = '') => {
      const key = answer.EncodingType === 'url' ? listedKey(text) : text;
      if (!key.startsWith(start)) throw new NotS3('keys that it was not asked for');
      return key.slice(start.length);
    };
    return {
      keys: (answer.Contents ?? []).map(({ Key, Size, ETag, LastModified }) => ({
        name: below(Key),
        size: Size,
        etag: ETag,
        modified: LastModified?.getTime(),
      })),
      prefixes: (answer.CommonPrefixes ?? []).map(({ Prefix }) => below(Prefix)),
      next,
    };
  });
}
