import type { PinnedFile } from './pin.ts';

/** Bytes of the largest file whose content is kept. */
export const LARGEST_HELD = 64 * 1024;
/** Bytes of all of them. */
const MOST_HELD = 32 * 1024 * 1024;

/**
 * Contents of small verified files, as they were verified: a script, a seal, an initrd of a few pages is asked for by every
 * machine, and to open it costs twenty times what it costs to send it. Whoever takes them from here has looked at the file
 * before (`Pin.isSame`).
 */
export class HeldContents {
  readonly #most: number;
  readonly #held = new Map<PinnedFile, { readonly content: Uint8Array; used: boolean }>();
  #bytes = 0;

  /** @param most bytes. */
  constructor(most = MOST_HELD) {
    this.#most = most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  find(file: PinnedFile): Uint8Array | undefined {
    const found = this.#held.get(file);
    if (found === undefined) return undefined;
    found.used = true;
    return found.content;
  }

  /** Keeps a content that was held against its digest; what nobody asked for lately makes room for it. */
  keep(file: PinnedFile, content: Uint8Array): void {
    if (content.length > LARGEST_HELD || this.#held.has(file)) return;
    this.#held.set(file, { content, used: false });
    this.#bytes += content.length;
    for (const [oldest, one] of this.#held) {
      if (this.#bytes <= this.#most) return;
      this.#held.delete(oldest);
      // A second chance, at the end of the row.
      if (one.used && oldest !== file) this.#held.set(oldest, { ...one, used: false });
      else this.#bytes -= one.content.length;
    }
  }
}
