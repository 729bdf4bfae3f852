import { Refusal } from '../../errors/refusal.ts';
import type { PromisedFile } from '../../release/promised-file.ts';
import type { Lease } from './lease.ts';

/** Milliseconds that a part of a file is waited for while all of it is on its way; then the client may ask again. */
const PATIENCE = 30_000;

/** What is told where there is no room for a file. @param why goes on after a colon. */
export function noRoom({ name, sha256 }: PromisedFile, why: string): Refusal {
  return new Refusal('unreachable', `${name} cannot be served in parts now: ${why}.`, {
    path: name,
    sha256,
    seconds: 30,
  });
}

/** Waits for a file, and not for ever. @throws Refusal `unreachable` once that is too long. */
export async function inPatience<T extends Lease>(file: PromisedFile, coming: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  const waited = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late = true;
      reject(
        new Refusal('unreachable', `${file.name} is still on its way from the store; try again.`, {
          path: file.name,
          seconds: 5,
        }),
      );
    }, PATIENCE);
  });
  coming.then(
    (lease) => {
      if (late) lease.release();
    },
    () => {},
  );
  try {
    return await Promise.race([coming, waited]);
  } finally {
    clearTimeout(timer);
  }
}
