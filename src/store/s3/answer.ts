import { Readable } from 'node:stream';
import { NotS3 } from './fault.ts';

/** An ETag without its quotes. @throws NotS3 for none, and for a weak one, which does not stand for bytes. */
export function etagOf(header: string | undefined): string {
  const bare = header?.replace(/^"([^"]*)"$/, '$1') ?? '';
  if (!/^[\w.+/=:-]{1,256}$/.test(bare)) throw new NotS3('no ETag that stands for the content');
  return bare;
}

/** The length, ETag and body of an object that begins to arrive. @throws NotS3 */
export function openedObject(answer: {
  readonly ContentLength?: number | undefined;
  readonly ETag?: string | undefined;
  readonly Body?: unknown;
}): { readonly size: number; readonly etag: string; readonly body: Readable } {
  const { ContentLength: size, Body: body } = answer;
  if (!(body instanceof Readable)) throw new NotS3('no content');
  try {
    if (size === undefined || !Number.isSafeInteger(size)) throw new NotS3('content of no known length');
    return { size, etag: etagOf(answer.ETag), body };
  } catch (error) {
    body.destroy();
    throw error;
  }
}

/** A key as it stands in a list (`EncodingType` url): percent-encoded UTF-8, and in some engines `+` for a space. */
export function listedKey(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new NotS3('a key that cannot be decoded');
  }
}
