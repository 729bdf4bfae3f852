import type { FileHandle } from 'node:fs/promises';
import { demandSameFile, type FileIdentity, identityOf, onlyRelinked } from '../release/file-identity.ts';
import { measureFile } from '../release/measure.ts';
import type { PinnedFile } from './file-resource.ts';

/**
 * The identity of a verified file, by which it is known again. Where nothing but its links may have changed, the
 * file is read and hashed anew, once for all who ask: it is the same content, or it is not served.
 */
export class Pin {
  readonly #file: PinnedFile;
  #identity: FileIdentity;
  #renewal: Promise<void> | undefined;

  constructor(file: PinnedFile) {
    this.#file = file;
    this.#identity = file.identity;
  }

  /** Throws a `Refusal` (`drifted`) unless the open file is the one that was verified. */
  async demand(handle: FileHandle): Promise<void> {
    const now = identityOf(await handle.stat({ bigint: true }));
    if (onlyRelinked(this.#identity, now)) {
      this.#renewal ??= this.#renew().finally(() => {
        this.#renewal = undefined;
      });
      await this.#renewal;
    }
    demandSameFile(this.#file.name, this.#identity, identityOf(await handle.stat({ bigint: true })));
  }

  async #renew(): Promise<void> {
    const { path, sha256 } = this.#file;
    const { answers, identity } = await measureFile(path, [{ kind: 'digest', hash: 'sha256' }]);
    // Whoever asked finds another identity than the one that is pinned, and refuses.
    if (Buffer.from(answers[0] as Uint8Array).toString('hex') === sha256) this.#identity = identity;
  }
}
