import { Refusal } from '../errors/refusal.ts';
import type { StoreBackend, StoredContent } from '../store/backend.ts';
import { demandShort, type MirrorFile, type MirrorSource } from './mirror-source.ts';
import { snapshotInState } from './state-layout.ts';

/** Bytes that are asked for at a time. */
const PIECE = 4 * 1024 * 1024;

/** A state of somebody else in a bucket, whose releases also lie there by name. What it says is as hostile as any mirror's. */
export class RecordsSource implements MirrorSource {
  readonly name: string;
  readonly origin: string;
  readonly #records: StoreBackend;

  /** @param place `s3://BUCKET/PREFIX` */
  constructor(place: string, records: StoreBackend) {
    this.name = place;
    this.origin = place;
    this.#records = records;
  }

  snapshot(channel: string): Promise<{ readonly bytes: Uint8Array; readonly seal: Uint8Array }> {
    return snapshotInState(channel, (key, limit) => this.read(key, limit));
  }

  async read(key: string, limit: number): Promise<Uint8Array> {
    const content = await this.#open(key);
    try {
      const { size } = content;
      if (size > limit)
        throw new Refusal('too-large', `${this.name}/${key} has ${size} bytes, and ${limit} are allowed.`, {
          path: key,
        });
      const buffer = new Uint8Array(size);
      const octets = await content.read(buffer, 0);
      if (octets === size) return buffer;
      throw this.#short(key, octets, size);
    } finally {
      await content.close();
    }
  }

  async open(key: string, first: number, size: number): Promise<MirrorFile> {
    const content = await this.#open(key);
    if (content.size !== size) {
      await content.close();
      throw new Refusal(
        'drifted',
        `${this.name}/${key} has ${content.size} bytes, and ${size} were signed.`,
        { path: key },
      );
    }
    const short = (octets: number) => this.#short(key, octets, size);
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (let at = first; at < size; ) {
          const buffer = new Uint8Array(Math.min(PIECE, size - at));
          const octets = await content.read(buffer, at);
          if (octets === 0) throw short(at);
          at += octets;
          yield buffer.subarray(0, octets);
        }
      } finally {
        await content.close();
      }
    };
    return { first, content: pieces() };
  }

  async size(key: string, limit: number): Promise<number> {
    const content = await this.#open(key);
    await content.close();
    return demandShort(`${this.name}/${key}`, content.size, limit);
  }

  async close(): Promise<void> {}

  async #open(key: string): Promise<StoredContent> {
    const content = await this.#records.open(key);
    if (content) return content;
    throw new Refusal('absent', `${this.name}/${key} does not exist.`, { path: key });
  }

  #short(key: string, octets: number, size: number): Refusal {
    return new Refusal('unreachable', `${this.name}/${key} ends after ${octets} of ${size} bytes.`, {
      path: key,
    });
  }
}
