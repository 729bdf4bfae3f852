import { Refusal } from '../errors/refusal.ts';
import { MAX_PE } from '../formats/efi/pe-write.ts';
import { demandSameFile, identityOf } from './file-identity.ts';
import { openRegular } from './measure.ts';

/**
 * An EFI image, whole: firmware loads it so, and says no to what it has no memory for. Throws a `Refusal`: `absent`,
 * `unsafe-path`, `too-large` beyond 2 GiB, `drifted`.
 */
export async function readImage(path: string): Promise<Uint8Array> {
  const { handle, identity } = await openRegular(path);
  try {
    if (identity.size > BigInt(MAX_PE)) {
      throw new Refusal(
        'too-large',
        `${path} has ${identity.size} bytes; no firmware loads more than 2 GiB.`,
        {
          path,
        },
      );
    }
    const bytes = await handle.readFile();
    demandSameFile(path, identity, identityOf(await handle.stat({ bigint: true })));
    return bytes;
  } finally {
    await handle.close();
  }
}
