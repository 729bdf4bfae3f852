import { Refusal } from '../errors/refusal.ts';
import { type ListedFile, listedContent } from '../files/listed-content.ts';
import type { Question } from '../files/measurer.ts';
import type { Arrived, PromisedFile } from '../release/promised-file.ts';
import type { Check } from './check.ts';
import { examine, verify } from './verify.ts';

const SEAL_OF_PROMISE = Symbol('promised');

/**
 * A file that a verified manifest lists and that was not read. It is no `Verified`: what stands in the manifest and in
 * seals that go by a digest was judged, what only the content can show is judged when it comes.
 */
export class Promised implements PromisedFile {
  readonly path: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly #judge: (arrived: Arrived) => Promise<void>;

  constructor(
    token: symbol,
    { path, size, sha256 }: Omit<ListedFile, 'sha512'>,
    judge: (arrived: Arrived) => Promise<void>,
  ) {
    if (token !== SEAL_OF_PROMISE) throw new TypeError('Promised is made by promise() alone');
    this.path = path;
    this.name = path.slice(path.lastIndexOf('/') + 1);
    this.size = size;
    this.sha256 = sha256;
    this.#judge = judge;
  }

  judge(arrived: Arrived): Promise<void> {
    return this.#judge(arrived);
  }
}

/**
 * Judges a file by what a verified manifest says of it, without its content.
 *
 * @param checks every seal of it; one of them is what the manifest says.
 * @throws Refusal the first that a check gives.
 */
export async function promise(file: ListedFile, checks: readonly Check[]): Promise<Promised> {
  const listed = checks.filter(({ questions }) => questions.every(isListed));
  const later = checks.filter((check) => !listed.includes(check));
  // 1. What goes by a digest alone is judged by those of the manifest: somebody's key stands behind one of them.
  await verify(file.path, listedContent(file), listed);
  // 2. Of what has to see the content: who signed, how, and when.
  for (const check of later) check.beforehand?.(file.sha256);
  // 3. The rest when it is here, and then all of it once more: the manifest says which content is meant.
  return new Promised(SEAL_OF_PROMISE, file, async (arrived) => {
    await verify(file.path, arrived, checks);
  });
}

/**
 * A file that no manifest lists, since it holds the digest of one: a whole boot in one file. What its store calls it is
 * no more than the name of what to fetch.
 *
 * @param limit bytes that it may have.
 * @param check of its bytes: the seal that is inside it.
 */
export function promiseUnlisted(
  file: Omit<ListedFile, 'sha512'>,
  limit: number,
  check: (bytes: Uint8Array) => Check,
): Promised {
  return new Promised(SEAL_OF_PROMISE, file, async (arrived) => {
    const { verified, findings } = await examine(arrived, [check(await arrived.bytes(limit))]);
    for (const finding of findings) if (!finding.verified) throw finding.refusal;
    if (verified?.sha256 === file.sha256 && verified.size === file.size) return;
    throw new Refusal('bad-signature', `${file.path} is not the file that the store lists.`, {
      path: file.path,
    });
  });
}

/** What `listedContent` has an answer to. */
function isListed(question: Question): boolean {
  if (question.kind === 'ecdsa-verify') return question.hash === 'sha256';
  return (
    question.kind === 'digest' &&
    question.suffix === undefined &&
    (question.hash === 'sha256' || question.hash === 'sha512')
  );
}
