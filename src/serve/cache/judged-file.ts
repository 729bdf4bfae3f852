import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { measureComing, measureHandle, openRegular } from '../../files/measure.ts';
import type { Answer, Question } from '../../files/measurer.ts';
import { readInto, reading } from '../../files/reading.ts';
import type { PinnedFile } from '../../release/pin.ts';
import type { Arrived, PromisedFile } from '../../release/promised-file.ts';
import type { Arrival, Hashing } from './arrival.ts';

/** What reading a file of a cache from end to end said. */
export interface JudgedFile {
  /** With the identity that it had then. */
  readonly pinned: PinnedFile;
  /** Lower-case hex; undefined where nobody asked for it. */
  readonly sha256: string | undefined;
  /** What the file's own judgement says; undefined: nothing against it. */
  readonly refusal: Refusal | undefined;
}

/**
 * Judges what lies in a cache by all of its content; undefined where it is gone.
 *
 * @param fits content of its digest is known to fit every seal: it is held against the digest alone.
 * @throws IoError
 */
export async function judgeCached(
  file: PromisedFile,
  pinned: PinnedFile,
  fits: boolean,
): Promise<JudgedFile | undefined> {
  const { path, name } = pinned;
  const opened = await openRegular(path, name).catch((error: unknown) => {
    if (error instanceof Refusal) return undefined;
    throw error;
  });
  if (!opened) return undefined;
  let sha256: string | undefined;
  const { handle } = opened;
  let { identity } = opened;
  const arrived: Arrived = {
    async measure(questions) {
      const measured = await measureHandle(opened, name, questions);
      identity = measured.identity;
      sha256 = sha256Of(questions, measured.answers);
      return measured;
    },
    bytes: (limit) => wholeOf(handle, name, identity.size, limit),
  };
  try {
    if (fits) await arrived.measure([{ kind: 'digest', hash: 'sha256' }]);
    else await file.judge(arrived);
    return { pinned: { ...pinned, identity }, sha256, refusal: undefined };
  } catch (error) {
    if (error instanceof Refusal) return { pinned: { ...pinned, identity }, sha256, refusal: error };
    throw error;
  } finally {
    await handle.close().catch(() => {});
  }
}

/** A judgement that goes on while its file comes. */
export interface JudgedAsItComes extends Hashing {
  /** False where it can only be judged whole, or something is against it. Never rejects. */
  readonly fits: Promise<boolean>;
}

/** Judges what comes, as it comes, by the bytes in memory. Nothing that is told counts before all of it has come. */
export function judgeComing(file: PromisedFile, arrival: Arrival): JudgedAsItComes {
  const { promise: begun, resolve: begin } = settled<boolean>();
  const { promise: sha256, resolve: tell, reject } = settled<string>();
  const arrived: Arrived = {
    async measure(questions) {
      begin(true);
      try {
        const asked: readonly Question[] = [...questions, { kind: 'digest', hash: 'sha256' }];
        const read = (buffer: Uint8Array, position: number) => arrival.hand(buffer, position);
        const { size, answers } = await measureComing(file.size, read, asked);
        tell(sha256Of(asked, answers) ?? '');
        return { size, answers: answers.slice(0, questions.length) };
      } catch (error) {
        reject(error);
        // It waits for what came to be hashed.
        arrival.fail(error);
        throw error;
      }
    },
    bytes: async () => {
      throw new RangeError('not all of it is here');
    },
  };
  const fits = file.judge(arrived).then(
    () => true,
    // Whoever needs to know what is against it judges it whole.
    () => false,
  );
  void fits.then(() => begin(false));
  return { begun, sha256, fits };
}

/** A promise, and what settles it; that nobody waits for its failure is no fault. */
function settled<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((...both) => {
    [resolve, reject] = both;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** Undefined where nobody asked for it. */
function sha256Of(questions: readonly Question[], answers: readonly Answer[]): string | undefined {
  const own = questions.findIndex(
    (question) => question.kind === 'digest' && question.hash === 'sha256' && question.suffix === undefined,
  );
  const answer = answers[own];
  return answer instanceof Uint8Array ? Buffer.from(answer).toString('hex') : undefined;
}

async function wholeOf(handle: FileHandle, name: string, size: bigint, limit: number): Promise<Uint8Array> {
  if (size > limit)
    throw new Refusal('too-large', `${name} has ${size} bytes; ${limit} are allowed.`, { limit });
  const bytes = Buffer.alloc(Number(size));
  await reading(name, undefined, () => readInto(handle, bytes, 0));
  return bytes;
}
