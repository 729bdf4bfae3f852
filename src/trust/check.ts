import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import type { Measured } from '../files/measure.ts';
import type { Answer, Question } from '../files/measurer.ts';
import type { Policy } from './policy.ts';

/** What a seal turned out to say, once it is verified. */
export interface Evidence {
  readonly check: CheckName;
  /** Who says so: a common name, a fingerprint; empty for a checksum. */
  readonly signer: string;
  /** Whose key it is, where one holder may have several: the primary key's fingerprint. */
  readonly holder?: string;
  /** True when a key stands behind it. A checksum alone makes nothing verified. */
  readonly signed: boolean;
  /** What must be said each time, though it is verified: a weak signature that the operator pinned. */
  readonly remark?: string;
}

export type CheckName = 'cms' | 'openpgp' | 'checksum' | 'manifest' | 'verity' | 'uefi';

/** One check in the making: put its questions to the content, then let it conclude. */
export interface Check {
  readonly name: CheckName;
  readonly questions: readonly Question[];
  /** Why it cannot hold, whatever the content is; undefined: that is for `conclude` to say. */
  readonly lost?: Refusal;
  /**
   * What can be said before the content is here, where it is not only about the content: who may sign, how strongly, and
   * when. Throws a `Refusal`. That it does not says nothing of the seal, which `conclude` alone has seen fit.
   *
   * @param sha256 lower-case hex: what the content has to turn out to be.
   */
  beforehand?(sha256: string): void;
  /** Throws a `Refusal` unless the check holds. */
  conclude(answers: readonly Answer[], measured: Measured): Evidence;
}

/** A check that is lost before any content was read, with its reason. */
export function lost(name: CheckName, refusal: Refusal): Check {
  return {
    name,
    questions: [],
    lost: refusal,
    beforehand() {
      throw refusal;
    },
    conclude() {
      throw refusal;
    },
  };
}

/** Several seals of one content, each of which must hold. The evidence is the first one's, with every signer. */
export function allOf(name: CheckName, checks: readonly Check[]): Check {
  const broken = checks.find((check) => check.lost)?.lost;
  return {
    name,
    questions: checks.flatMap(({ questions }) => questions),
    ...(broken ? { lost: broken } : {}),
    beforehand(sha256) {
      for (const check of checks) check.beforehand?.(sha256);
    },
    conclude(answers, measured) {
      const rest = [...answers];
      const found = checks.map((check) => check.conclude(rest.splice(0, check.questions.length), measured));
      const [first] = found;
      // "All of none" would say yes to anything.
      if (!first) throw new Refusal('no-verdict', 'There is no seal to verify.', {});
      const remarks = new Set(found.flatMap(({ remark }) => remark ?? []));
      return {
        ...first,
        signer: found.map(({ signer }) => signer).join(', '),
        ...(remarks.size > 0 ? { remark: [...remarks].join(' ') } : {}),
      };
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

/** A policy with pins has to know what content it is about. */
export function pinQuestions(policy: Policy): Question[] {
  return policy.pins.length > 0 ? [{ kind: 'digest', hash: 'sha256' }] : [];
}

/** Lower-case hex of the answer to `pinQuestions`, where it was put. */
export function pinnedContent(answer: Answer | undefined): string | undefined {
  return answer instanceof Uint8Array ? Buffer.from(answer).toString('hex') : undefined;
}

export function evidenceOf(check: CheckName, signer: string, remarks: ReadonlySet<string>): Evidence {
  return { check, signer, signed: true, ...(remarks.size > 0 ? { remark: [...remarks].join(' ') } : {}) };
}
