import { join } from 'node:path';
import { isThere } from '../../files/read-if-there.ts';
import { sealRecord, sealRecordOpenpgp } from '../seal-record.ts';
import { chainOf, type LoaderSignatories, type OpenpgpSigner } from '../signatories.ts';
import type { DigestSigner } from '../signers/digest-signer.ts';
import type { KeyAccess } from './passphrase.ts';
import { readSignatories } from './public-half.ts';
import { readAnsweringKeys } from './sealing-keys.ts';

/** Who signs scripts: the boot leaf for iPXE, the OpenPGP script key for GRUB. A folder may hold one of them alone. */
export interface ScriptKeys {
  readonly loader: LoaderSignatories;
  readonly boot: DigestSigner | undefined;
  readonly script: OpenpgpSigner | undefined;
}

/**
 * Reads who signs scripts out of a folder as `init` makes it; it need hold no other key.
 *
 * @param now milliseconds since 1970.
 * @throws Refusal, UsageError, IoError as `readAnsweringKeys`.
 */
export async function readScriptKeys(
  folder: string,
  now: number,
  access: KeyAccess = {},
): Promise<ScriptKeys> {
  const inner = join(folder, 'anchors');
  const signatories = await readSignatories((await isThere(inner)) ? inner : folder, now);
  const { signers } = await readAnsweringKeys([folder], { signatories, others: [] }, now, access);
  const script = signers.get('openpgp-script');
  return {
    loader: signatories,
    boot: signers.get('boot'),
    script: script && { key: signatories.openpgp.script, signer: script },
  };
}

/**
 * The seal of a script, or undefined where its key is not at hand. Whoever calls this has compiled the text, or read it.
 *
 * @param issued milliseconds since 1970: what an OpenPGP signature says of itself.
 */
export async function sealScript(
  { loader, boot, script }: ScriptKeys,
  kind: 'ipxe' | 'grub',
  bytes: Uint8Array,
  issued: number,
): Promise<Uint8Array | undefined> {
  if (kind === 'grub') return script && sealRecordOpenpgp(bytes, script, issued);
  // iPXE builds its chain from what stands in the seal and no other bytes.
  const chain = [loader.boot.raw, ...chainOf(loader)];
  return boot && sealRecord(bytes, { certificate: loader.boot, signer: boot }, chain);
}
