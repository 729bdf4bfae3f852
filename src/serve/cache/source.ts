import { IoError } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';

/** Content where it lies. Nobody has verified any of it. */
export interface SourceContent {
  /** Bytes, as the store says. */
  readonly size: number;
  /** Fills `buffer` from `position` on, unless the content ends before; resolves with the bytes read, 0 at the end. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/** Where content comes from, by its digest. */
export interface ContentSource {
  /** Undefined only where there is none. @throws IoError */
  open(sha256: string): Promise<SourceContent | undefined>;
}

/** What is fetched: its name for sentences, and what was signed about it. */
export interface Wanted {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Milliseconds without an answer, after which a store counts as unreachable. */
export const SILENT_MS = 30_000;
/** Seconds after which a client may ask again. */
const LATER = 5;

/**
 * Opens content that has the size that was signed.
 *
 * @throws Refusal `drifted` where the store has lost it, or has another; `unreachable`.
 */
export async function openWanted(source: ContentSource, wanted: Wanted): Promise<SourceContent> {
  const { name, size, sha256 } = wanted;
  const content = await inTime(wanted, source.open(sha256), (late) => void late?.close());
  if (!content) {
    throw new Refusal('drifted', `${name} is gone from the store; publish its release again.`, {
      path: name,
      sha256,
    });
  }
  if (content.size === size) return content;
  await content.close();
  throw new Refusal(
    'drifted',
    `${name} in the store is not what was published: it has ${content.size} bytes, not ${size}.`,
    { path: name, sha256 },
  );
}

/**
 * Fills a buffer from content.
 *
 * @throws Refusal `drifted` where it ends before; `unreachable`. The buffer may still be written to then.
 */
export async function readWanted(
  content: SourceContent,
  wanted: Wanted,
  buffer: Uint8Array,
  position: number,
): Promise<void> {
  let at = 0;
  while (at < buffer.length) {
    const count = await inTime(wanted, content.read(buffer.subarray(at), position + at));
    if (count <= 0 || count > buffer.length - at) {
      const { name, sha256 } = wanted;
      throw new Refusal('drifted', `${name} in the store is shorter than what was published.`, {
        path: name,
        sha256,
      });
    }
    at += count;
  }
}

/** True for what passes by itself: the store is silent, or its network is. */
export function isUnreachable(error: unknown): error is Refusal {
  return error instanceof Refusal && error.code === 'unreachable';
}

/** @param given what to do with what comes too late. */
async function inTime<T>(wanted: Wanted, asked: Promise<T>, given?: (late: T) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  const silent = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late = true;
      reject(unreachable(wanted, undefined));
    }, SILENT_MS);
  });
  asked.then(
    (answer) => {
      if (late) given?.(answer);
    },
    () => {},
  );
  try {
    return await Promise.race([asked, silent]);
  } catch (error) {
    throw error instanceof IoError ? unreachable(wanted, error) : error;
  } finally {
    clearTimeout(timer);
  }
}

function unreachable({ name, sha256 }: Wanted, cause: IoError | undefined): Refusal {
  return new Refusal(
    'unreachable',
    `${name} is not in the cache of this server, and the store cannot be reached; try again.`,
    { path: name, sha256, seconds: LATER, why: cause?.message ?? 'no answer' },
    { cause },
  );
}
