import { Malformed } from '../formats/malformed.ts';
import type { Measured } from '../release/measure.ts';
import type { Answer, Question } from '../release/measurer.ts';
import { Refusal } from '../release/refusal.ts';

/** What a seal turned out to say, once it is verified. */
export interface Evidence {
  readonly check: CheckName;
  /** Who says so: a common name, a fingerprint; empty for a checksum. */
  readonly signer: string;
  /** True when a key stands behind it. A checksum alone makes nothing verified. */
  readonly signed: boolean;
}

export type CheckName = 'cms' | 'openpgp' | 'checksum' | 'manifest';

/** One check in the making: put its questions to the content, then let it conclude. */
export interface Check {
  readonly name: CheckName;
  readonly questions: readonly Question[];
  /** Throws a `Refusal` unless the check holds. */
  conclude(answers: readonly Answer[], measured: Measured): Evidence;
}

/** A check that is lost before any content was read, with its reason. */
export function lost(name: CheckName, refusal: Refusal): Check {
  return {
    name,
    questions: [],
    conclude() {
      throw refusal;
    },
  };
}

/** Runs a decoder of `formats/`; bytes that do not follow their format become a refusal. */
export function decodeOr<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Malformed) {
      throw new Refusal('malformed', `${what} is malformed: ${error.message}.`, { format: error.format });
    }
    throw error;
  }
}

/** Makes a check; what fails on the way is a lost check, not an exception. */
export function prepare(name: CheckName, make: () => Check): Check {
  try {
    return make();
  } catch (error) {
    if (error instanceof Refusal) return lost(name, error);
    throw error;
  }
}
