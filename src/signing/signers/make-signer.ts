import type { KeyObject } from 'node:crypto';
import { type AgentSignerOptions, agentSigner } from './agent-signer.ts';
import { type CommandSignerOptions, commandSigner } from './command-signer.ts';
import type { DigestSigner } from './digest-signer.ts';
import { type Pkcs11SignerOptions, pkcs11Signer } from './pkcs11-signer.ts';
import { type SigndSignerOptions, signdSigner } from './signd-signer.ts';

/** Where a key is that is no file. */
export type SignerKind =
  | ({ readonly kind: 'agent' } & AgentSignerOptions)
  | ({ readonly kind: 'command' } & CommandSignerOptions)
  | ({ readonly kind: 'pkcs11' } & Pkcs11SignerOptions)
  | ({ readonly kind: 'signd' } & SigndSignerOptions);

/**
 * The signer for a key that lives elsewhere. Nobody is asked yet.
 *
 * @param publicKey of the certificate or OpenPGP key: what every answer is checked against.
 * @throws Refusal `malformed`, `unsafe-keys`; UsageError for words that cannot be meant.
 */
export function makeSigner(where: SignerKind, publicKey: KeyObject): DigestSigner {
  switch (where.kind) {
    case 'agent':
      return agentSigner(publicKey, where);
    case 'command':
      return commandSigner(publicKey, where);
    case 'pkcs11':
      return pkcs11Signer(publicKey, where);
    case 'signd':
      return signdSigner(publicKey, where);
  }
}
