/**
 * Bytes that do not follow their format.
 *
 * Thrown by every decoder of this floor, and by nothing else. It states a fact about bytes and judges
 * nothing: the floors above turn it into a refusal with the reason `malformed`.
 */
export class Malformed extends Error {
  /** The format that was expected: `DER`, `newc cpio`, `TFTP`. */
  readonly format: string;
  /** Bytes from the start of the input, where the decoder knew it. */
  readonly offset: number | undefined;

  constructor(format: string, fact: string, offset?: number) {
    super(offset === undefined ? `${format}: ${fact}` : `${format}: ${fact} (at byte ${offset})`);
    this.name = 'Malformed';
    this.format = format;
    this.offset = offset;
  }
}
