import { createPublicKey } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { isEcdsaSignature } from '../formats/asn1/ecdsa.ts';
import type { Content } from './measure.ts';
import type { Answer, Question } from './measurer.ts';

/** A file as a verified manifest lists it. */
export interface ListedFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Lower-case hex. */
  readonly sha512: string;
}

/**
 * Content that is not read: a verified manifest already says what its digests are. It answers for nothing else;
 * an OpenPGP signature hashes its own fields behind the content, and cannot be asked about.
 */
export function listedContent(file: ListedFile): Content {
  return {
    async measure(questions) {
      return { size: file.size, answers: questions.map((question) => answer(file, question)) };
    },
  };
}

function answer({ path, sha256, sha512 }: ListedFile, question: Question): Answer {
  if (question.kind === 'digest' && question.suffix === undefined) {
    if (question.hash === 'sha256') return Buffer.from(sha256, 'hex');
    if (question.hash === 'sha512') return Buffer.from(sha512, 'hex');
  }
  if (question.kind === 'ecdsa-verify' && question.hash === 'sha256') {
    const key = createPublicKey(question.publicKey);
    return isEcdsaSignature(key, Buffer.from(sha256, 'hex'), question.signature);
  }
  throw new Refusal('no-verdict', `${path} would have to be read for this, and its manifest alone was.`, {
    path,
  });
}
