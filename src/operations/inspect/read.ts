import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import type { FileIdentity } from '../../files/file-identity.ts';
import { openRegular } from '../../files/measure.ts';
import { readInto, reading } from '../../files/reading.ts';
import { isPe } from '../../formats/efi/pe.ts';
import { MAX_PE } from '../../formats/efi/pe-write.ts';
import type { Read } from './recognise.ts';

/** Bytes of the largest file that is read: a keyring of a whole distribution takes half of it. */
export const MAX_INSPECTED = 64 * 2 ** 20;

/** The one kind of file that may be of any size, and of which the first block says everything. */
const VERITY = Buffer.from('verity\0\0', 'latin1');
const BLOCK = 4096;

/**
 * Reads a regular file, bounded. Throws a `Refusal`: `absent`, `unsafe-path` for anything that is no regular file,
 * `too-large`, `drifted` for one that changes meanwhile.
 *
 * @param limit bytes.
 */
export async function readInspected(path: string, limit = MAX_INSPECTED): Promise<Read> {
  return readOpened(await openRegular(path), path, limit);
}

/** The same of a file that is open, and closed at the end. @param path for messages. */
export function readOpened(
  { handle, identity }: { readonly handle: FileHandle; readonly identity: FileIdentity },
  path: string,
  limit: number,
): Promise<Read> {
  return reading(path, handle, async () => {
    const size = Number(identity.size);
    const head = Buffer.alloc(Math.min(size, BLOCK));
    const got = await readInto(handle, head, 0);
    if (got === head.length && head.subarray(0, VERITY.length).equals(VERITY)) return { bytes: head, size };
    // A whole boot in one file; no more than firmware loads.
    const most = isPe(head) ? MAX_PE : limit;
    if (size > most) {
      throw new Refusal('too-large', `${path} has ${size} bytes, and more than ${most} are not read.`, {
        path,
        size,
        limit: most,
      });
    }
    // One byte more than there should be: a file that grows is told from one that does not.
    const whole = Buffer.alloc(size + 1);
    head.copy(whole);
    const end = got + (await readInto(handle, whole.subarray(got), got));
    if (end !== size) {
      throw new Refusal('drifted', `${path} changed while it was being read (size differs).`, { path });
    }
    return { bytes: whole.subarray(0, size), size };
  });
}
