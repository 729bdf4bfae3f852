import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import {
  CPIO_HEADER_OCTETS,
  CPIO_TRAILER,
  type CpioHeader,
  cpioChecksum,
  cpioPadding,
  decodeCpioHeader,
  decodeCpioName,
} from '../formats/archive/cpio.ts';

/** Who takes the entries of a stream. */
export interface EntrySink {
  /** Before an entry's data, by the kind of its header. The answer: whether they are wanted. */
  begin(header: CpioHeader, name: string): boolean;
  /** Behind them. `data` is undefined where they were not wanted. */
  end(header: CpioHeader, name: string, data: Uint8Array | undefined): void;
  trailer(): void;
}

export interface EntryLimits {
  readonly maxEntries: number;
  /** Bytes of all archives, unpacked. */
  readonly maxBytes: number;
}

const ZERO = 0x30;

/**
 * cpio entries out of pieces of any size. As for the kernel, a trailer is no end: after it, or without one,
 * zeros and further entries may follow. Unwanted data are counted and let go, so memory does not grow
 * with what passes through. Throws `Malformed`, or a `Refusal` (`too-large`).
 */
export class EntryStream {
  readonly #sink: EntrySink;
  readonly #limits: EntryLimits;
  /** Bytes from the beginning of the archive, for its alignment. */
  #offset = 0;
  #octets = 0;
  #begun = false;
  #entries = 0;
  /** What is being collected; undefined between entries. */
  #missing = 0;
  #pieces: Uint8Array[] | undefined;
  #then: ((bytes: Uint8Array) => void) | undefined;
  #onPiece: ((piece: Uint8Array) => void) | undefined;

  constructor(sink: EntrySink, limits: EntryLimits) {
    this.#sink = sink;
    this.#limits = limits;
  }

  /** Whether the next byte stands at a multiple of four. */
  get aligned(): boolean {
    return (this.#offset & 3) === 0;
  }

  /** True between entries: here an archive may end. */
  get idle(): boolean {
    return this.#then === undefined;
  }

  /**
   * A new archive: the next byte stands at a multiple of four. It is the first of a header; behind other archives a
   * compressed one may be empty, too, or begin with zeros.
   */
  start(): void {
    this.#offset = 0;
    if (!this.#begun) this.#expectHeader();
    this.#begun = true;
  }

  /**
   * Takes bytes; views of `piece` are kept. Returns how many belonged to the archive: fewer than given when
   * something follows that is neither zero nor an entry.
   */
  feed(piece: Uint8Array): number {
    let at = 0;
    while (at < piece.length) {
      if (this.#then === undefined) {
        const from = at;
        while (piece[at] === 0) at++;
        this.#count(at - from);
        if (at === piece.length) break;
        // The kernel calls this "broken padding" and drops all the rest.
        if (this.#offset & 3) throw new Malformed('newc cpio', 'begins unaligned', this.#offset);
        if (piece[at] !== ZERO) break;
        this.#expectHeader();
      }
      const part = piece.subarray(at, at + this.#missing);
      at += part.length;
      this.#missing -= part.length;
      this.#count(part.length);
      this.#onPiece?.(part);
      this.#pieces?.push(part);
      if (this.#missing === 0) this.#finish();
    }
    return at;
  }

  #count(octets: number): void {
    this.#offset += octets;
    this.#octets += octets;
    if (this.#octets > this.#limits.maxBytes) throw this.#tooLarge();
  }

  #tooLarge(): Refusal {
    const { maxBytes } = this.#limits;
    return new Refusal('too-large', `The initramfs unpacks to more than ${maxBytes} bytes.`, { maxBytes });
  }

  #finish(): void {
    const pieces = this.#pieces ?? [];
    const [only] = pieces;
    const bytes = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
    const then = this.#then;
    this.#then = this.#onPiece = this.#pieces = undefined;
    then?.(bytes);
  }

  #expect(length: number, then: (bytes: Uint8Array) => void, pieces: Uint8Array[] | undefined = []): void {
    this.#missing = length;
    this.#pieces = pieces;
    this.#then = then;
    if (length === 0) this.#finish();
  }

  #expectHeader(): void {
    this.#expect(CPIO_HEADER_OCTETS, (bytes) => {
      const start = this.#offset - CPIO_HEADER_OCTETS;
      const header = decodeCpioHeader(bytes, start);
      if (header.size > this.#limits.maxBytes - this.#octets) throw this.#tooLarge();
      const padding = cpioPadding(CPIO_HEADER_OCTETS + header.nameSize);
      this.#expect(header.nameSize + padding, (field) => {
        this.#begin(header, decodeCpioName(field.subarray(0, header.nameSize), start), start);
        demandZeros(field.subarray(header.nameSize), start);
      });
    });
  }

  #begin(header: CpioHeader, name: string, start: number): void {
    if (name === CPIO_TRAILER) {
      if (header.size > 0) throw new Malformed('newc cpio', 'trailer with data', start);
      this.#sink.trailer();
      return;
    }
    if (++this.#entries > this.#limits.maxEntries) {
      const { maxEntries } = this.#limits;
      const message = `The initramfs holds more than ${maxEntries} entries.`;
      throw new Refusal('too-large', message, { maxEntries });
    }
    const wanted = this.#sink.begin(header, name);
    let sum = 0;
    const finish = (bytes: Uint8Array): void => {
      if (header.checksum !== undefined && header.checksum !== sum) {
        throw new Malformed('newc cpio', `${name}: checksum does not match`, start);
      }
      this.#sink.end(header, name, wanted ? bytes : undefined);
      const padding = cpioPadding(header.size);
      if (padding > 0) this.#expect(padding, (zeros) => demandZeros(zeros, start));
    };
    if (header.size === 0) {
      finish(new Uint8Array(0));
      return;
    }
    this.#expect(header.size, finish, wanted ? [] : undefined);
    if (!wanted) this.#pieces = undefined;
    if (header.checksum !== undefined) {
      this.#onPiece = (piece) => {
        sum = cpioChecksum(piece, sum);
      };
    }
  }
}

function demandZeros(bytes: Uint8Array, offset: number): void {
  if (bytes.some((octet) => octet !== 0)) throw new Malformed('newc cpio', 'padding not zero', offset);
}
