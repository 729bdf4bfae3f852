import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Refusal } from '../errors/refusal.ts';
import { openBeneath, readBeneath } from '../files/beneath.ts';
import { reading } from '../files/reading.ts';
import { demandShort, type MirrorFile, type MirrorSource } from './mirror-source.ts';
import { snapshotInState } from './state-layout.ts';

/** A state of somebody else in a folder of this machine, or a copy of one: a disk that was carried here, a mounted share. */
export class FolderSource implements MirrorSource {
  readonly name: string;
  readonly origin: string;
  readonly #folder: string;

  /** @param origin where the copy came from, if not from this folder. */
  constructor(folder: string, name = folder, origin = pathToFileURL(resolve(folder)).href) {
    this.name = name;
    this.origin = origin;
    this.#folder = resolve(folder);
  }

  snapshot(channel: string): Promise<{ readonly bytes: Uint8Array; readonly seal: Uint8Array }> {
    return snapshotInState(channel, (key, limit) => this.read(key, limit));
  }

  async read(key: string, limit: number): Promise<Uint8Array> {
    return (await readBeneath(this.#folder, key, limit)).bytes;
  }

  async open(key: string, first: number, size: number): Promise<MirrorFile> {
    const { handle, identity } = await openBeneath(this.#folder, key);
    if (Number(identity.size) !== size) {
      await handle.close();
      throw new Refusal(
        'drifted',
        `${this.name}/${key} has ${identity.size} bytes, and ${size} were signed.`,
        {
          path: key,
        },
      );
    }
    const content = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (let at = first; at < size; ) {
          const buffer = Buffer.allocUnsafe(Math.min(1024 * 1024, size - at));
          const from = at;
          const { bytesRead } = await reading(key, undefined, () =>
            handle.read(buffer, 0, buffer.length, from),
          );
          if (bytesRead === 0) return;
          at += bytesRead;
          yield buffer.subarray(0, bytesRead);
        }
      } finally {
        await handle.close().catch(() => {});
      }
    };
    return { first, content: content() };
  }

  async size(key: string, limit: number): Promise<number> {
    const { handle, identity } = await openBeneath(this.#folder, key);
    await handle.close();
    return demandShort(`${this.name}/${key}`, Number(identity.size), limit);
  }

  async close(): Promise<void> {}
}
