import { Refusal } from '../../errors/refusal.ts';
import { fileResource } from '../../release/file-resource.ts';
import type { PromisedFile } from '../../release/promised-file.ts';
import type { OpenResource } from '../../release/site.ts';
import type { CachedImage } from './cached-image.ts';
import type { Lease } from './lease.ts';

interface Held {
  readonly open: Promise<OpenResource>;
  readonly release: () => void;
}

/** An image that is read in parts: from the file of the cache once all of it is there, block by block before. */
export class ImageReading implements OpenResource {
  readonly #file: PromisedFile;
  readonly #image: CachedImage;
  readonly #whole: () => Lease | undefined;
  #lease: Held | undefined;
  #closed = false;

  /** @param whole holds the file in the cache, where it is there. */
  constructor(file: PromisedFile, image: CachedImage, whole: () => Lease | undefined) {
    this.#file = file;
    this.#image = image;
    this.#whole = whole;
    image.use();
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const length = Math.min(buffer.length, this.#file.size - position);
    if (length <= 0) return 0;
    const into = buffer.subarray(0, length);
    if (!(await this.#fromWhole(into, position))) await this.#image.read(into, position);
    return length;
  }

  /** Every block was looked at before it was handed out. Of what came out of a whole file this is the moment. */
  async check(): Promise<void> {
    const lease = this.#lease;
    if (!lease) return;
    await (await lease.open).check();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#giveUp();
    await this.#image.leave();
  }

  /** False where the cache does not have all of it, or not as it was. */
  async #fromWhole(into: Uint8Array, position: number): Promise<boolean> {
    const lease = this.#lease ?? this.#begin();
    if (!lease) return false;
    try {
      const open = await lease.open;
      for (let at = 0; at < into.length; ) {
        const count = await open.read(into.subarray(at), position + at);
        if (count <= 0) return false;
        at += count;
      }
      await open.check();
      return true;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await this.#giveUp();
      return false;
    }
  }

  #begin(): Held | undefined {
    const lease = this.#whole();
    if (!lease) return undefined;
    const open = fileResource(lease.file).open();
    open.catch(() => {});
    this.#lease = { open, release: lease.release };
    return this.#lease;
  }

  async #giveUp(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    if (!lease) return;
    lease.release();
    await lease.open.then(
      (open) => open.close(),
      // It never was open.
      () => {},
    );
  }
}
