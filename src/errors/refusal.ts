/**
 * Why something was not accepted. The set is closed: a new way of saying no is a new code here, so that
 * every reader of a receipt, a log line or an exit status can tell them apart.
 */
export const REFUSAL_CODES = [
  'absent',
  'malformed',
  'bad-signature',
  'untrusted-signer',
  'wrong-purpose',
  'expired',
  'not-yet-valid',
  'weak-algorithm',
  'revoked',
  'withdrawn',
  'rolled-back',
  'stale',
  'mixed-releases',
  'wrong-machine',
  'wrong-command-line',
  'too-large',
  'drifted',
  'unreachable',
  'unsafe-path',
  'unsafe-script',
  'unsafe-keys',
  'unsafe-serial',
  'no-verdict',
  /** Who asks did not show that they may: no token, or none that is known here. */
  'unauthorized',
  /** Who asks is known, or where they ask from, and may not. */
  'forbidden',
  /** Too many tries in too short a time. */
  'too-often',
  /** Asked under a name that is none of this server's. */
  'misdirected',
] as const;

export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** Facts of a refusal: short strings and numbers, fit for a log line; never a key, never content. */
export type RefusalFacts = Readonly<Record<string, string | number | boolean | undefined>>;

/** A named reason for saying no. The message is one plain sentence: what, which file, why. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly facts: RefusalFacts;

  constructor(code: RefusalCode, message: string, facts: RefusalFacts = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'Refusal';
    this.code = code;
    this.facts = facts;
  }

  toJSON(): { code: RefusalCode; message: string; facts: RefusalFacts } {
    return { code: this.code, message: this.message, facts: this.facts };
  }
}
