import { Refusal } from '../errors/refusal.ts';
import type { Check, Evidence } from './check.ts';

/**
 * K of n: at least `least` checks by distinct signers must hold, each of a seal in a file of its own (iPXE and
 * gpgv want every signature of one file to hold). A seal that does not hold is passed over as if it were not
 * there; it can hide no other and make none count twice.
 *
 * @param what names the content in the refusal.
 */
export function thresholdCheck(what: string, least: number, checks: readonly Check[]): Check {
  return {
    name: checks[0]?.name ?? 'openpgp',
    questions: checks.flatMap(({ questions }) => questions),
    // Which of them are by distinct holders shows when their signatures are looked at.
    beforehand(sha256) {
      const refusals = checks.flatMap((check) => refusalOf(() => check.beforehand?.(sha256)) ?? []);
      if (checks.length - refusals.length < least)
        throw tooFew(what, checks.length - refusals.length, least, refusals);
    },
    conclude(answers, measured) {
      const rest = [...answers];
      const bySigner = new Map<string, Evidence>();
      const refusals: Refusal[] = [];
      for (const check of checks) {
        try {
          const evidence = check.conclude(rest.splice(0, check.questions.length), measured);
          // Two subkeys of one certificate are one signer.
          if (evidence.signed) bySigner.set(evidence.holder ?? evidence.signer, evidence);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          refusals.push(error);
        }
      }
      const [first] = bySigner.values();
      if (first && bySigner.size >= least) {
        return { ...first, signer: [...bySigner.keys()].join(', ') };
      }
      throw tooFew(what, bySigner.size, least, refusals);
    },
  };
}

function tooFew(what: string, signers: number, wanted: number, [why]: readonly Refusal[]): Refusal {
  return new Refusal(
    why?.code ?? 'untrusted-signer',
    `${what} is signed by ${signers} of the ${wanted} keys that the policy asks for.${
      why ? ` ${why.message}` : ''
    }`,
    { signers, wanted },
  );
}

function refusalOf(act: () => void): Refusal | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
