import type { FileHandle } from 'node:fs/promises';
import { demandSameFile, type FileIdentity, identityOf } from '../release/file-identity.ts';
import { openRegular } from '../release/measure.ts';
import { Refusal } from '../release/refusal.ts';
import type { OpenResource, Resource } from './site.ts';

/** What is known of a file that was verified. */
export interface PinnedFile {
  /** Absolute. */
  readonly path: string;
  readonly name: string;
  /** Octets. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly identity: FileIdentity;
}

/** A verified file on disk: served from one descriptor that must still be the file that was verified. */
export function fileResource(file: PinnedFile): Resource {
  return {
    size: file.size,
    sha256: file.sha256,
    name: file.name,
    immutable: true,
    async open() {
      const { handle, identity } = await openRegular(file.path).catch((error) => {
        throw told(file, error);
      });
      try {
        demandSameFile(file.name, file.identity, identity);
      } catch (error) {
        await handle.close();
        throw error;
      }
      return new OpenFile(handle, file);
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
  readonly #file: PinnedFile;

  constructor(handle: FileHandle, file: PinnedFile) {
    this.#handle = handle;
    this.#file = file;
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, position);
    return bytesRead;
  }

  async check(): Promise<void> {
    demandSameFile(
      this.#file.name,
      this.#file.identity,
      identityOf(await this.#handle.stat({ bigint: true })),
    );
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}
