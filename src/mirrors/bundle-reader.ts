import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import {
  decodeTarHeader,
  TAR_BLOCK,
  TAR_END_OCTETS,
  type TarMember,
  tarHeaderLength,
  tarPadding,
} from '../formats/archive/ustar.ts';
import {
  BUNDLE_INDEX,
  type BundleIndex,
  type BundleMember,
  decodeBundleIndex,
  MAX_BUNDLE_INDEX,
} from '../formats/records/bundle-index.ts';
import { decodeOr } from '../trust/check.ts';

/**
 * Reads a bundle from its first byte to its last and never back: from a file, or from a pipe. Nothing is read before it is
 * known how much it will be, and no more is held in memory than one piece and what is asked for whole. Whatever is not to
 * the byte what `bundlePieces` writes ends the reading with a `Refusal`.
 */
export class BundleReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #name: string;
  #rest: Uint8Array = new Uint8Array(0);

  /** @param name for messages. */
  constructor(source: AsyncIterable<Uint8Array>, name: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#name = name;
  }

  /** The index: the first member. @throws Refusal `malformed`, `too-large`. */
  async index(): Promise<BundleIndex> {
    const { path, size } = await this.#header(BUNDLE_INDEX);
    if (path !== BUNDLE_INDEX)
      throw this.#malformed(`begins with ${JSON.stringify(path)}, and a bundle with its index`);
    if (size > MAX_BUNDLE_INDEX)
      throw new Refusal(
        'too-large',
        `The index of ${this.#name} has ${size} bytes; no bundle needs so many.`,
        {
          size,
        },
      );
    const bytes = await this.#take(size, BUNDLE_INDEX);
    await this.#padding(size, BUNDLE_INDEX);
    return decodeOr(`The index of ${this.#name}`, () => decodeBundleIndex(bytes));
  }

  /**
   * The content of the next member, piece by piece; the last piece comes once the digest is known to be right. Whoever
   * asks goes through all of it.
   *
   * @throws Refusal `malformed` for another member, or a bundle that ends; `bad-signature` for another content.
   */
  async *content(member: BundleMember): AsyncGenerator<Uint8Array> {
    const { name, size, sha256 } = member;
    const { path, size: said } = await this.#header(name);
    if (path !== name || said !== size)
      throw this.#malformed(`has ${path} of ${said} bytes where its index has ${name} of ${size}`);
    const hash = createHash('sha256');
    for (let left = size; left > 0; ) {
      const piece = await this.#some(left, name);
      hash.update(piece);
      left -= piece.length;
      if (left === 0) this.#demandDigest(name, hash.digest('hex'), sha256);
      yield piece;
    }
    if (size === 0) this.#demandDigest(name, hash.digest('hex'), sha256);
    await this.#padding(size, name);
  }

  /** A member, whole. Throws as `content`. */
  async whole(member: BundleMember): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    // A piece may be a view into a buffer that the source fills anew.
    for await (const piece of this.content(member)) pieces.push(Uint8Array.from(piece));
    return Buffer.concat(pieces);
  }

  /** Nothing but the end is left. @throws Refusal `malformed` */
  async end(): Promise<void> {
    const zeros = await this.#take(TAR_END_OCTETS, 'its end');
    if (zeros.some((octet) => octet !== 0)) throw this.#malformed('goes on after all that its index names');
    if ((await this.#more()) > 0) throw this.#malformed('goes on after its end');
  }

  /** Nothing more is read; the source lets go of what it holds. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  async #header(what: string): Promise<TarMember> {
    const first = await this.#take(TAR_BLOCK, what);
    const length = decodeOr(this.#name, () => tarHeaderLength(first));
    const rest = await this.#take(length - TAR_BLOCK, what);
    return decodeOr(this.#name, () => decodeTarHeader(Buffer.concat([first, rest])));
  }

  async #padding(size: number, what: string): Promise<void> {
    const zeros = await this.#take(tarPadding(size), what);
    if (zeros.some((octet) => octet !== 0)) throw this.#malformed(`holds something behind ${what}`);
  }

  #demandDigest(name: string, found: string, wanted: string): void {
    if (found === wanted) return;
    throw new Refusal(
      'bad-signature',
      `${name} in ${this.#name} is not what its index says: the bundle was changed on its way.`,
      { path: name },
    );
  }

  /** Exactly so many bytes. */
  async #take(octets: number, what: string): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let left = octets; left > 0; ) {
      const piece = await this.#some(left, what);
      pieces.push(Uint8Array.from(piece));
      left -= piece.length;
    }
    return Buffer.concat(pieces);
  }

  /** At least one byte, and no more than `most`. */
  async #some(most: number, what: string): Promise<Uint8Array> {
    if ((await this.#more()) === 0) throw this.#malformed(`ends in the middle of ${what}`);
    const piece = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  /** How many bytes are at hand; 0 at the end. */
  async #more(): Promise<number> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done) return 0;
      this.#rest = next.value;
    }
    return this.#rest.length;
  }

  #malformed(fact: string): Refusal {
    return new Refusal('malformed', `${this.#name} ${fact}.`, { path: this.#name });
  }
}
