import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.ts';
import { openRegular } from '../files/measure.ts';
import { reading } from '../files/reading.ts';
import { type Pin, type PinnedFile, pinOf } from './pin.ts';
import type { OpenResource, Resource } from './site.ts';

/** A verified file on disk: served from one descriptor that must still be the file that was verified. */
export function fileResource(file: PinnedFile): Resource {
  const pin = pinOf(file);
  return {
    size: file.size,
    sha256: file.sha256,
    name: file.name,
    immutable: true,
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
      return new OpenFile(handle, pin, file.name);
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
  readonly #name: string;

  constructor(handle: FileHandle, pin: Pin, name: string) {
    this.#handle = handle;
    this.#pin = pin;
    this.#name = name;
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return reading(this.#name, undefined, async () => {
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, position);
      return bytesRead;
    });
  }

  check(): Promise<void> {
    return this.#pin.demand(this.#handle);
  }

  async close(): Promise<void> {
    // What was read is read.
    await this.#handle.close().catch(() => {});
  }
}
