import { createHash, createPublicKey, createVerify, type Hash } from 'node:crypto';
import type { HashName } from '../formats/asn1/oids.ts';
import { VeritySink, type VerityTrees } from '../formats/verity/verity-sink.ts';

/**
 * What can be asked of content that is read once. All questions are put before the first byte, all answers
 * come after the last.
 *
 * Signing needs only digests. Verifying ECDSA is asked in full, since node:crypto does not verify against a
 * finished digest.
 */
export type Question =
  /** The digest of the content, or of the content followed by `suffix` (an OpenPGP trailer). */
  | { readonly kind: 'digest'; readonly hash: HashName; readonly suffix?: Uint8Array }
  /** Whether `signature` (DER) is by `publicKey` (SPKI PEM). */
  | {
      readonly kind: 'ecdsa-verify';
      readonly hash: HashName;
      readonly publicKey: string;
      readonly signature: Uint8Array;
    }
  /** The trees of dm-verity and fs-verity. The answer holds 32 bytes for each 4096 of the content. */
  | { readonly kind: 'verity' };

/**
 * Bytes for digests and signatures, a boolean for `ecdsa-verify`, trees for `verity`; in the order of the
 * questions.
 */
export type Answer = Uint8Array | boolean | VerityTrees;

/** Takes content in pieces and answers. Synchronous: runs in whichever thread feeds it. */
export class Measurer {
  readonly #questions: readonly Question[];
  readonly #hashes = new Map<HashName, Hash>();
  readonly #others: { update(data: Uint8Array): unknown; finish: () => Answer; index: number }[] = [];

  constructor(questions: readonly Question[]) {
    this.#questions = questions;
    for (const [index, question] of questions.entries()) {
      if (question.kind === 'digest') {
        if (!this.#hashes.has(question.hash)) this.#hashes.set(question.hash, createHash(question.hash));
      } else if (question.kind === 'verity') {
        const sink = new VeritySink();
        this.#others.push({ update: (data) => sink.update(data), finish: () => sink.finish(), index });
      } else {
        const verify = createVerify(question.hash);
        const finish = () => verify.verify(createPublicKey(question.publicKey), question.signature);
        this.#others.push({ update: (data) => verify.update(data), finish, index });
      }
    }
  }

  update(data: Uint8Array): void {
    for (const hash of this.#hashes.values()) hash.update(data);
    for (const other of this.#others) other.update(data);
  }

  answers(): Answer[] {
    return this.#questions.map((question, index) => {
      if (question.kind === 'digest') {
        // A copy, since one state serves the checksum, the CMS digest and each OpenPGP trailer.
        const state = this.#hashes.get(question.hash)?.copy() ?? createHash(question.hash);
        return (question.suffix ? state.update(question.suffix) : state).digest();
      }
      const other = this.#others.find((candidate) => candidate.index === index);
      return other ? other.finish() : false;
    });
  }
}
