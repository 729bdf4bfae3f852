import { createHash } from 'node:crypto';

/** Texts that are remembered, some 100 bytes each. */
const MOST = 16_384;

/**
 * What a linter had nothing to say about, by its content: what is found depends on the text and on what was asked, and on
 * nothing else. A script is linted when it is made, when its seal is verified, and whenever that counts no longer.
 */
export class Passed {
  /** SHA-256 of what was asked and of the text. */
  readonly #digests = new Set<string>();

  /**
   * What a linter finds. Findings are never remembered, so that they are made anew with their words.
   *
   * @param asked all that the answer depends on beside the text.
   */
  lint<Finding>(asked: unknown, bytes: Uint8Array, linter: () => Finding[]): Finding[] {
    // JSON has no NUL in it: no text can look like another's question.
    const hash = createHash('sha256')
      .update(`${JSON.stringify(asked)}\0`)
      .update(bytes);
    const digest = hash.digest('base64');
    if (this.#digests.has(digest)) return [];
    const findings = linter();
    if (findings.length > 0) return findings;
    if (this.#digests.size >= MOST) this.#digests.clear();
    this.#digests.add(digest);
    return findings;
  }
}
