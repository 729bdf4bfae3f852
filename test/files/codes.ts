import { IoError } from '../../src/errors/io.ts';
import { Refusal } from '../../src/errors/refusal.ts';

/** The code of the refusal or I/O error that a promise ends with; undefined where it succeeds. */
export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof Refusal || error instanceof IoError) return error.code;
    throw error;
  }
}
