import { Refusal } from '../errors/refusal.ts';
import { MAX_PE } from '../formats/efi/pe-write.ts';
import { openRegular } from './measure.ts';
import { readInto, reading } from './reading.ts';
import { type OpenedFile, readUnchanged } from './unchanged.ts';

/**
 * An EFI image, whole: firmware loads it so, and says no to what it has no memory for. Throws a `Refusal`: `absent`,
 * `unsafe-path`, `too-large` beyond 2 GiB, `drifted`.
 */
export async function readImage(path: string): Promise<Uint8Array> {
  return readOpenedImage(await openRegular(path), path);
}

/** The same of a file that is open, and closed at the end. @param path for messages. */
export function readOpenedImage(opened: OpenedFile, path: string): Promise<Uint8Array> {
  const { handle, identity } = opened;
  return reading(path, handle, async () => {
    if (identity.size > BigInt(MAX_PE)) {
      throw new Refusal(
        'too-large',
        `${path} has ${identity.size} bytes; no firmware loads more than 2 GiB.`,
        {
          path,
        },
      );
    }
    const bytes = Buffer.alloc(Number(identity.size));
    const { value } = await readUnchanged(opened, path, () => readInto(handle, bytes, 0));
    return bytes.subarray(0, value);
  });
}
