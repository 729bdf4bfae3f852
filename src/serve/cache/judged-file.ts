import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { measureHandle, openRegular } from '../../files/measure.ts';
import { readInto, reading } from '../../files/reading.ts';
import type { PinnedFile } from '../../release/pin.ts';
import type { Arrived, PromisedFile } from '../../release/promised-file.ts';

/** What reading a file of a cache from end to end said. */
export interface JudgedFile {
  /** With the identity that it had then. */
  readonly pinned: PinnedFile;
  /** Lower-case hex; undefined where nobody asked for it. */
  readonly sha256: string | undefined;
  /** What the file's own judgement says; undefined: nothing against it. */
  readonly refusal: Refusal | undefined;
}

/** Judges what lies in a cache by all of its content; undefined where it is gone. @throws IoError */
export async function judgeCached(file: PromisedFile, pinned: PinnedFile): Promise<JudgedFile | undefined> {
  const { path, name } = pinned;
  const opened = await openRegular(path, name).catch((error: unknown) => {
    if (error instanceof Refusal) return undefined;
    throw error;
  });
  if (!opened) return undefined;
  let sha256: string | undefined;
  const { handle, identity } = opened;
  const now = { ...pinned, identity };
  const arrived: Arrived = {
    async measure(questions) {
      const measured = await measureHandle(opened, name, questions);
      const own = questions.findIndex(
        (question) =>
          question.kind === 'digest' && question.hash === 'sha256' && question.suffix === undefined,
      );
      const answer = measured.answers[own];
      if (answer instanceof Uint8Array) sha256 = Buffer.from(answer).toString('hex');
      return measured;
    },
    bytes: (limit) => wholeOf(handle, name, identity.size, limit),
  };
  try {
    await file.judge(arrived);
    return { pinned: now, sha256, refusal: undefined };
  } catch (error) {
    if (error instanceof Refusal) return { pinned: now, sha256, refusal: error };
    throw error;
  } finally {
    await handle.close().catch(() => {});
  }
}

async function wholeOf(handle: FileHandle, name: string, size: bigint, limit: number): Promise<Uint8Array> {
  if (size > limit)
    throw new Refusal('too-large', `${name} has ${size} bytes; ${limit} are allowed.`, { limit });
  const bytes = Buffer.alloc(Number(size));
  await reading(name, undefined, () => readInto(handle, bytes, 0));
  return bytes;
}
