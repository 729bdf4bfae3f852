import { Refusal } from '../../errors/refusal.ts';
import type { MirrorAnswer, MirrorLink } from './mirror-link.ts';

/** Bytes of a hash tree that a server which knows no ranges may send whole: one of an image of 8 GiB. */
const MOST_WHOLE = 68 * 1024 * 1024;

export interface FilePart {
  readonly offset: number;
  readonly length: number;
}

/**
 * A file of a mirror in parts, whose size is known from what was signed. An answer is exactly the part that was asked for, of
 * a file of that size, or it is refused. A server that ignores Range and sends the file whole is read up to the last part
 * that is wanted, and then cut off.
 */
export class RangedFile {
  readonly path: string;
  readonly size: number;
  readonly #link: MirrorLink;
  /** Of a server that knows no ranges. */
  #whole: Buffer | undefined;

  constructor(link: MirrorLink, path: string, size: number) {
    this.#link = link;
    this.path = path;
    this.size = size;
  }

  /** The parts, in the order of their offsets; they must not overlap. */
  async *parts(
    wanted: readonly FilePart[],
  ): AsyncGenerator<{ readonly part: FilePart; readonly bytes: Buffer }> {
    for (const [at, part] of wanted.entries()) {
      const answer = await this.#ask(part);
      if (answer.first === part.offset) {
        yield { part, bytes: await this.#take(answer, part) };
        continue;
      }
      yield* this.#passing(answer, wanted.slice(at));
      return;
    }
  }

  /** One part, in any order. What a server without ranges sends is kept, so that it is read once. */
  async read(offset: number, length: number): Promise<Buffer> {
    const part = { offset, length };
    if (!this.#whole) {
      const answer = await this.#ask(part);
      if (answer.first === offset) return this.#take(answer, part);
      this.#whole = await this.#takeWhole(answer);
    }
    return this.#whole.subarray(offset, offset + length);
  }

  async #ask({ offset, length }: FilePart): Promise<MirrorAnswer> {
    const answer = await this.#link.get(this.path, { range: { first: offset, last: offset + length - 1 } });
    if (answer.total === undefined || answer.total === this.size) {
      if (answer.total !== undefined || answer.first === 0) return answer;
    }
    await answer.body.return();
    if (answer.total === undefined)
      throw new Refusal(
        'malformed',
        `${this.path} comes in parts of which the server does not say the whole size.`,
        {
          file: this.path,
        },
      );
    throw new Refusal(
      'bad-signature',
      `${this.path} has ${answer.total} bytes, and ${this.size} were signed.`,
      {
        file: this.path,
        size: answer.total,
        wanted: this.size,
      },
    );
  }

  /** The first bytes of an answer; what comes behind them is not read. */
  async #take({ body }: MirrorAnswer, { length }: FilePart): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    let at = 0;
    for await (const piece of body) {
      at += Buffer.from(piece.buffer, piece.byteOffset, piece.length).copy(bytes, at);
      if (at === length) break;
    }
    if (at < length) throw this.#short(at);
    return bytes;
  }

  async *#passing(
    { body }: MirrorAnswer,
    wanted: readonly FilePart[],
  ): AsyncGenerator<{ readonly part: FilePart; readonly bytes: Buffer }> {
    const left = [...wanted];
    let bytes = Buffer.alloc(left[0]?.length ?? 0);
    let position = 0;
    for await (const piece of body) {
      for (let part = left[0]; part && part.offset < position + piece.length; part = left[0]) {
        const from = Math.max(0, part.offset - position);
        Buffer.from(piece.buffer, piece.byteOffset, piece.length).copy(
          bytes,
          Math.max(0, position - part.offset),
          from,
        );
        if (part.offset + part.length > position + piece.length) break;
        yield { part, bytes };
        left.shift();
        bytes = Buffer.alloc(left[0]?.length ?? 0);
      }
      position += piece.length;
      if (left.length === 0) return;
    }
    throw this.#short(position);
  }

  async #takeWhole(answer: MirrorAnswer): Promise<Buffer> {
    if (this.size <= MOST_WHOLE) return this.#take(answer, { offset: 0, length: this.size });
    await answer.body.return();
    throw new Refusal(
      'unreachable',
      `${this.path} comes whole where a part was asked for, and is too long for that.`,
      {
        file: this.path,
      },
    );
  }

  #short(octets: number): Refusal {
    return new Refusal('unreachable', `${this.path} ends after ${octets} bytes.`, {
      file: this.path,
      bytes: octets,
    });
  }
}
