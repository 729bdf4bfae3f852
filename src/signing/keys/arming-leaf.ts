import { join } from 'node:path';
import { UsageError } from '../../errors/usage.ts';
import { isThere } from '../../files/read-if-there.ts';
import { type CertifiedSigner, certifiedSigner, chainOf } from '../signatories.ts';
import { hasSigners } from '../signers/signers-file.ts';
import { certifiedKey, readAuthority } from './key-folder.ts';
import { type MakeKeyPair, newKeyPair } from './key-pair.ts';
import { accessOf, type KeyAccess } from './passphrase.ts';
import { readProfile } from './profiles.ts';
import { mintLeaf } from './release-leaf.ts';
import { readLoaderSealingKeys } from './sealing-keys.ts';

const DAY = 86_400_000;

/** What signs the script of one arming. */
export interface ArmingSigner {
  readonly signer: CertifiedSigner;
  /** What the seal carries: iPXE builds its way to the root from that and no other bytes. */
  readonly chain: readonly Uint8Array[];
}

export interface ArmingLeafOptions extends KeyAccess {
  /**
   * An `init` folder with the key of the CA, which issues a leaf for this one script; or a day's folder of
   * `keys delegate`, whose leaf ends by itself.
   */
  readonly keys: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** When the leaf shall end, milliseconds since 1970, whole seconds. */
  readonly ends: number;
  /** Overrides the profile's RSA modulus length. */
  readonly rsaBits?: number | undefined;
  readonly makeKeyPair?: MakeKeyPair | undefined;
}

/**
 * A boot leaf that ends with an arming. Its key is thrown away with the answer, so nothing else is ever signed by it.
 *
 * @throws UsageError where the folder has no key that may; Refusal for keys that are unfit; IoError.
 */
export async function armingLeaf(options: ArmingLeafOptions): Promise<ArmingSigner> {
  const { keys, now, ends, makeKeyPair = newKeyPair } = options;
  if (!(await hasSigners(keys)) && !(await isThere(join(keys, 'private', 'ca.key'))))
    return delegatedLeaf(options);
  const { ca, above, boot } = await readLoaderSealingKeys(keys, now, accessOf(options));
  const { commonName, key } = boot.certificate;
  const order = {
    commonName,
    // Backdated for clocks in local time, as every certificate is.
    notBefore: Math.floor(now / 1000) * 1000 - DAY,
    notAfter: Math.min(ends, ca.certificate.notAfter),
    kind: key.type === 'rsa' ? 'rsa' : 'p256',
    bits: options.rsaBits ?? readProfile('boot').rsa_bits,
  } as const;
  const signer = await mintLeaf(order, ca, makeKeyPair);
  return { signer, chain: [signer.certificate.raw, ...chainOf({ ca: ca.certificate, above })] };
}

async function delegatedLeaf(options: ArmingLeafOptions): Promise<ArmingSigner> {
  const { keys, now, ends } = options;
  const { ca, above } = await readAuthority(join(keys, 'anchors'), now);
  const boot = await certifiedKey(keys, 'boot', now, 'digitalSignature', ca, accessOf(options));
  const { notAfter } = boot.certificate;
  // A leaf that lasts would sign what can be replayed for as long.
  if (notAfter > now + DAY)
    throw new UsageError(
      `The boot leaf of ${keys} lasts longer than 24 hours, and there is no key of the CA that could issue another; "bootseal keys delegate" makes leaves for a day.`,
    );
  if (notAfter < ends)
    throw new UsageError(
      `The boot leaf of ${keys} ends at ${new Date(notAfter).toISOString().slice(0, 19)}Z, before what is to be armed; arm for less with --for.`,
    );
  return { signer: certifiedSigner('boot', boot), chain: [boot.certificate.raw, ...chainOf({ ca, above })] };
}
