import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { cmsCheck } from './cms-check.ts';
import type { Policy } from './policy.ts';
import { verify } from './verify.ts';

/**
 * What everything that the snapshot key signs has in common. It says nothing of what was signed: a snapshot and
 * a checkpoint are told apart by their first lines, which their decoders demand.
 *
 * @param what names the record in refusals: `the snapshot of stable`.
 * @param signers certificates of the snapshot key; several while one key takes another's place.
 * @throws Refusal `wrong-purpose` where a certificate may sign other things, and what a signature may be refused for.
 */
export async function verifySnapshotSeal(
  what: string,
  bytes: Uint8Array,
  seal: Uint8Array,
  signers: readonly Certificate[],
  policy: Policy,
  now: number,
): Promise<void> {
  // Were it a key that may sign code, whoever moves channels could also make releases.
  if (signers.some(({ extKeyUsage }) => extKeyUsage?.length)) {
    throw new Refusal('wrong-purpose', `The key for ${what} may sign other things than snapshots.`, { what });
  }
  const rules = { signers, roots: signers, purpose: 'any', margin: 0 } as const;
  await verify(what, bytesContent(bytes), [cmsCheck(what, seal, rules, policy, now)]);
}
