import { codeOf, IoError, inWords } from '../errors/io.ts';
import { EXIT } from './exit.ts';

/** What a stream could not take; from then on nothing more is written to it. */
let fault: unknown;

/** True until something could not be written: what comes after half an object would be taken for a part of it. */
export function outputTakes(): boolean {
  return fault === undefined;
}

/**
 * Watches both streams for the life of the process. A result that could not be written (a full disk, a reader that
 * went away) was not given, whatever was done: the exit status is 3. Who closes a pipe behind a table, as `| head`
 * does, has read enough; of an object he has read less than it.
 *
 * @param json whether standard output gets an object.
 */
export function watchOutput(json: boolean): void {
  process.stdout.on('error', (error) => {
    if (fault !== undefined) return;
    fault = error;
    if (!json && codeOf(error) === 'EPIPE') return;
    process.stderr.write(`Standard output cannot be written: ${inWords(error)}.\n`);
    // Whatever the command itself ends with.
    process.once('exit', () => {
      process.exitCode = EXIT.fault;
    });
  });
  // Nobody is left who could be told.
  process.stderr.on('error', () => {});
}

/**
 * Writes bytes to standard output, no faster than they are read. @throws IoError where nobody takes them.
 *
 * What `pieces` throws ends the writing, and the reader has a part.
 */
export async function writeToOutput(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const piece of pieces) {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(piece, (error) => (error ? reject(cannotWrite(error)) : resolve()));
    });
  }
}

function cannotWrite(error: Error): IoError {
  return new IoError(`Standard output cannot be written: ${inWords(error)}.`, 'stdout', codeOf(error), {
    cause: error,
  });
}
