import { Refusal } from '../errors/refusal.ts';
import type { Content, Measured } from '../files/measure.ts';
import type { Question } from '../files/measurer.ts';
import type { Check, CheckName, Evidence } from './check.ts';

/**
 * The one place that says yes. `Verified` has no public constructor: only `verify` below makes one, and what
 * may be published or served asks for that type.
 */

const SEAL_OF_VERIFY = Symbol('verified');

/** Content whose every check held, at least one of them with a key behind it. */
export class Verified {
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Lower-case hex. */
  readonly sha512: string;
  readonly evidence: readonly Evidence[];

  constructor(token: symbol, size: number, sha256: string, sha512: string, evidence: readonly Evidence[]) {
    if (token !== SEAL_OF_VERIFY) throw new TypeError('Verified is made by verify() alone');
    this.size = size;
    this.sha256 = sha256;
    this.sha512 = sha512;
    this.evidence = evidence;
  }
}

/** What became of one check. */
export type Finding =
  | { readonly check: CheckName; readonly verified: true; readonly evidence: Evidence }
  | { readonly check: CheckName; readonly verified: false; readonly refusal: Refusal };

export interface Examined {
  readonly findings: readonly Finding[];
  /** Undefined unless every check held. */
  readonly verified: Verified | undefined;
}

/**
 * Puts every check's questions to the content, which is read once, and hears all of them out: a verdict
 * table wants each column, not the first refusal. Rejects when the content itself cannot be had.
 */
export async function examine(content: Content, checks: readonly Check[]): Promise<Examined> {
  // 1. One pass over the content, with every check's questions and the two digests that identify it.
  const identity: Question[] = [
    { kind: 'digest', hash: 'sha256' },
    { kind: 'digest', hash: 'sha512' },
  ];
  const measured = await content.measure([...identity, ...checks.flatMap(({ questions }) => questions)]);
  const [sha256, sha512, ...answers] = measured.answers;
  // 2. Each check concludes from its own answers.
  const findings = checks.map((check) =>
    conclude(check, answers.splice(0, check.questions.length), measured),
  );
  // 3. Verified only if something was checked, nothing was refused, and a key stands behind it.
  const evidence = findings.flatMap((finding) => (finding.verified ? [finding.evidence] : []));
  const all = evidence.length === checks.length && evidence.some(({ signed }) => signed);
  const hex = (answer: unknown) => Buffer.from(answer as Uint8Array).toString('hex');
  return {
    findings,
    verified: all
      ? new Verified(SEAL_OF_VERIFY, measured.size, hex(sha256), hex(sha512), evidence)
      : undefined,
  };
}

/**
 * Verifies content by all of `checks`.
 *
 * @param what names the content in a refusal.
 * @throws Refusal the first that a check gave, or `no-verdict` where no check had a key behind it.
 */
export async function verify(what: string, content: Content, checks: readonly Check[]): Promise<Verified> {
  const { findings, verified } = await examine(content, checks);
  for (const finding of findings) if (!finding.verified) throw finding.refusal;
  // No silence: everything that did not end in "verified" has failed, whatever the reason.
  if (!verified) throw new Refusal('no-verdict', `Nothing signed vouches for ${what}.`, { what });
  return verified;
}

function conclude(check: Check, answers: Measured['answers'], measured: Measured): Finding {
  try {
    return { check: check.name, verified: true, evidence: check.conclude(answers, measured) };
  } catch (error) {
    if (error instanceof Refusal) return { check: check.name, verified: false, refusal: error };
    throw error;
  }
}
