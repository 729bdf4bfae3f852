import type { KeyObject } from 'node:crypto';
import type { DigestSigner } from './digest-signer.ts';
import { runProgram } from './run-program.ts';
import { demandForm, demandHash, demandKeyKind, MAX_SIGNATURE } from './signature-form.ts';
import { DEFAULT_TIME_LIMIT, type TimeLimit } from './time-limit.ts';

export interface CommandSignerOptions {
  /** Which key is meant: `codesign`. The program finds it in BOOTSEAL_KEY. */
  readonly key: string;
  readonly argv: readonly [string, ...string[]];
  readonly timeLimit?: TimeLimit;
}

/**
 * A signer that is a program, for the services that have one: the digest's raw bytes on its standard input,
 * the signature's on its standard output (RSA: RSASSA-PKCS1-v1_5; P-256: DER), BOOTSEAL_KEY and BOOTSEAL_HASH
 * (`sha256`, `sha512`) in its environment.
 *
 * @throws Refusal `unsafe-keys` for a kind of key that cannot be used so.
 */
export function commandSigner(publicKey: KeyObject, options: CommandSignerOptions): DigestSigner {
  const { key, argv, timeLimit = DEFAULT_TIME_LIMIT } = options;
  // Arguments may hold what is nobody's business.
  const name = `The command "${argv[0]}" (key ${key})`;
  demandKeyKind(name, publicKey);
  return {
    publicKey,
    name,
    async sign(hash, digest) {
      const env = { BOOTSEAL_KEY: key, BOOTSEAL_HASH: demandHash(name, hash) };
      const answer = await runProgram({ name, argv, env, input: digest, limit: MAX_SIGNATURE, timeLimit });
      demandForm(name, publicKey, answer);
      return answer;
    },
  };
}
