import { Refusal } from '../../errors/refusal.ts';
import { streamContent } from '../../files/measure.ts';
import type { PromisedFile } from '../../release/promised-file.ts';
import type { OpenResource } from '../../release/site.ts';
import { readWanted, type SourceContent } from './source.ts';

/**
 * A file that is handed on as it comes, for a client that takes all of it from its first byte to its last, where there is no
 * room to keep it. What is handed out is what is hashed: nothing is asked of the store twice.
 */
export class DirectReading implements OpenResource {
  readonly #file: PromisedFile;
  readonly #content: SourceContent;
  readonly #queue = new ByteQueue();
  readonly #verdict: Promise<void>;
  /** What was read last, for a client that turned out to be too slow for it. */
  #last: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(file: PromisedFile, content: SourceContent) {
    this.#file = file;
    this.#content = content;
    const stream = streamContent(this.#queue, file.name, file.size);
    this.#verdict = file.judge({
      measure: (questions) => stream.measure(questions),
      bytes: async () => {
        throw new Refusal('unreachable', `The cache of this server has no room for ${file.name}.`, {
          path: file.name,
        });
      },
    });
    // It is awaited before the last bytes leave, if they ever do. Whoever judges may end before the last piece.
    this.#verdict.catch(() => {}).finally(() => this.#queue.end());
  }

  async read(buffer: Uint8Array, position: number): Promise<number> {
    const { size } = this.#file;
    const before = this.#at - this.#last.length;
    if (position < before || position > this.#at)
      throw new RangeError('what is handed on as it comes is read from the first byte to the last');
    if (position === this.#at) {
      const piece = Buffer.allocUnsafeSlow(Math.min(buffer.length, size - position));
      if (piece.length === 0) return 0;
      await readWanted(this.#content, this.#file, piece, position);
      await this.#queue.push(piece);
      this.#last = piece;
      this.#at += piece.length;
    }
    const from = position - (this.#at - this.#last.length);
    return this.#last.copy(buffer, 0, from);
  }

  async check(): Promise<void> {
    if (this.#at !== this.#file.size) throw new RangeError('what has not come cannot be judged');
    this.#queue.end();
    await this.#verdict;
  }

  async close(): Promise<void> {
    this.#queue.fail(new Error('the client has gone'));
    await this.#content.close();
  }
}

/** Bytes that somebody else takes, piece by piece: whoever pushes waits until the last piece was taken. */
class ByteQueue implements AsyncIterable<Uint8Array> {
  #piece: Uint8Array | undefined;
  #ended = false;
  #failure: Error | undefined;
  #changed: (() => void) | undefined;
  #taken: (() => void) | undefined;

  async push(piece: Uint8Array): Promise<void> {
    if (this.#ended || this.#failure) return;
    const taken = new Promise<void>((resolve) => {
      this.#taken = resolve;
    });
    this.#piece = piece;
    this.#changed?.();
    await taken;
  }

  end(): void {
    this.#ended = true;
    this.#changed?.();
    this.#taken?.();
  }

  fail(error: Error): void {
    if (this.#ended) return;
    this.#failure = error;
    this.#changed?.();
    this.#taken?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (;;) {
      const piece = this.#piece;
      if (piece) {
        this.#piece = undefined;
        yield piece;
        // It is asked for the next one: this one was hashed.
        this.#taken?.();
        continue;
      }
      if (this.#failure) throw this.#failure;
      if (this.#ended) return;
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}
