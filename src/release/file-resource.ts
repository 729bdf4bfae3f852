import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.ts';
import { openRegular } from '../files/measure.ts';
import { reading } from '../files/reading.ts';
import { HeldContents, LARGEST_HELD } from './held-contents.ts';
import { type Pin, type PinnedFile, pinOf } from './pin.ts';
import type { OpenResource, Resource } from './site.ts';

/** Of this process: two servers in one are of the same files. */
const contents = new HeldContents();

/**
 * A verified file on disk: served from one descriptor that must still be the file that was verified. A small one that was
 * read once is held, and served as long as the file by its path is the same.
 */
export function fileResource(file: PinnedFile): Resource {
  const pin = pinOf(file);
  return {
    size: file.size,
    sha256: file.sha256,
    name: file.name,
    immutable: true,
    held() {
      const content = contents.find(file);
      return content && pin.isSame() ? content : undefined;
    },
    async open() {
      const { handle } = await openRegular(file.path).catch((error) => {
        throw told(file, error);
      });
      try {
        await pin.demand(handle);
      } catch (error) {
        await handle.close().catch(() => {});
        throw error;
      }
      return new OpenFile(handle, pin, file);
    },
  };
}

/**
 * What a client is told where a verified file cannot be opened any more: its own name for the file, since
 * paths of this machine are none of its business, and `drifted`, since "absent" would be a file that never was.
 */
function told(file: PinnedFile, error: unknown): unknown {
  if (!(error instanceof Refusal)) return error;
  const message = `${file.name} is no longer the file that was verified: it is gone or cannot be read.`;
  return new Refusal('drifted', message, { path: file.path, found: error.code }, { cause: error });
}

class OpenFile implements OpenResource {
  readonly #handle: FileHandle;
  readonly #pin: Pin;
  readonly #file: PinnedFile;
  /** All of a small file, where it was read at once. */
  #content: Uint8Array | undefined;

  constructor(handle: FileHandle, pin: Pin, file: PinnedFile) {
    this.#handle = handle;
    this.#pin = pin;
    this.#file = file;
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    const { name, size } = this.#file;
    return reading(name, undefined, async () => {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, position);
      if (position === 0 && bytesRead === size && size <= LARGEST_HELD)
        this.#content = Buffer.from(buffer.subarray(0, size));
      return bytesRead;
    });
  }

  async check(): Promise<void> {
    await this.#pin.demand(this.#handle);
    if (this.#content === undefined) return;
    this.#pin.demandContent(this.#content);
    contents.keep(this.#file, this.#content);
    this.#content = undefined;
  }

  async close(): Promise<void> {
    // What was read is read.
    await this.#handle.close().catch(() => {});
  }
}
