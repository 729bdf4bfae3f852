import { Refusal, type RefusalFacts } from '../../errors/refusal.ts';
import type { Fetched, Transport } from '../transport.ts';
import type { BlockSource } from './block-source.ts';

export interface RangeSourceOptions {
  readonly transport: Transport;
  readonly url: string;
  readonly path: string;
  /** Bytes, from the manifest. */
  readonly size: number;
  readonly onFetch?: (url: string, range: { readonly first: number; readonly last: number }) => void;
}

/**
 * A file in parts by HTTP Range (RFC 9110 §14). The answer must be exactly the part that was asked for, of a
 * file of exactly the known size: a server that sends something else is not to be guessed at, and a whole image
 * in the place of one block is what this mode exists to avoid.
 */
export class RangeSource implements BlockSource {
  readonly path: string;
  readonly size: number;
  readonly #options: RangeSourceOptions;
  #fetched = 0;
  #requests = 0;

  constructor(options: RangeSourceOptions) {
    this.#options = options;
    this.path = options.path;
    this.size = options.size;
  }

  get fetched(): number {
    return this.#fetched;
  }

  get requests(): number {
    return this.#requests;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (length < 1 || offset < 0 || offset + length > this.size)
      throw new RangeError(`${this.path} has no ${length} bytes at ${offset}`);
    const { transport, url, onFetch } = this.#options;
    const range = { first: offset, last: offset + length - 1 };
    onFetch?.(url, range);
    this.#requests++;
    // An answer that is not taken is not waited for either.
    const abort = new AbortController();
    try {
      const answer = await transport.fetch(url, { range, signal: abort.signal });
      this.#demandPart(answer, range);
      return await this.#receive(answer, length);
    } catch (error) {
      abort.abort();
      throw error;
    }
  }

  #demandPart({ partial, part, size }: Fetched, { first, last }: { first: number; last: number }): void {
    if (!partial) {
      throw this.#refusal(
        'unreachable',
        'is sent whole where a part was asked for; the server knows no HTTP Range, which mode verity needs',
      );
    }
    const length = last - first + 1;
    if (part?.first !== first || part.last !== last || (size !== undefined && size !== length)) {
      throw this.#refusal('malformed', 'arrives as another part than the one that was asked for', {
        first,
        last,
      });
    }
    if (part.size === undefined)
      throw this.#refusal('malformed', 'arrives in parts of which the server does not say the whole size');
    if (part.size !== this.size) {
      throw this.#refusal('bad-signature', `has ${part.size} bytes, and the manifest says ${this.size}`, {
        size: part.size,
        wanted: this.size,
      });
    }
  }

  async #receive({ body }: Fetched, length: number): Promise<Uint8Array> {
    const bytes = Buffer.alloc(length);
    let at = 0;
    for await (const piece of body) {
      this.#fetched += piece.length;
      if (piece.length > length - at)
        throw this.#refusal('malformed', `sends more than the ${length} bytes of a part`, { length });
      bytes.set(piece, at);
      at += piece.length;
    }
    if (at !== length) {
      const octets = { octets: at, size: length };
      throw this.#refusal('unreachable', `ends after ${at} of the ${length} bytes of a part`, octets);
    }
    return bytes;
  }

  #refusal(
    code: 'unreachable' | 'malformed' | 'bad-signature',
    why: string,
    facts: RefusalFacts = {},
  ): Refusal {
    return new Refusal(code, `${this.path} ${why}.`, { path: this.path, ...facts });
  }
}
