import { otherCaOf, otherIpxeSeal, RECORD, SEAL, VERITY } from '../formats/records/seal-names.ts';

/**
 * The key that a seal is by. `leaf` is the release leaf; with a dash and an id, the key of another CA whose
 * loaders shall start the release too.
 */
export type KeyName = 'codesign' | 'openpgp' | LoaderKeyName;
export type LoaderKeyName = 'boot' | 'leaf' | `boot-${string}` | `leaf-${string}`;

/** By suffix, the key of each seal of a file. */
export type SealKeys = Readonly<Record<string, KeyName>>;

/**
 * The seals of a kernel, initrd or image. No other key may ever sign payload: what the boot key signs, loaders
 * run as a script.
 *
 * @param ids of other CAs whose loaders shall start the release too.
 */
export function payloadSeals(ids: readonly string[]): SealKeys {
  return {
    [SEAL.ipxe]: 'leaf',
    [SEAL.cms]: 'codesign',
    [SEAL.openpgp]: 'openpgp',
    ...Object.fromEntries(ids.map((id): [string, KeyName] => [otherIpxeSeal(id), `leaf-${id}`])),
  };
}

/** The seals of a record; none for a checksum, which has none. */
export function recordSeals(name: string): SealKeys {
  if (name.endsWith(VERITY.rootHash)) return { [VERITY.seal]: 'codesign' };
  const id = otherCaOf(name);
  if (id !== undefined) return { [SEAL.openpgp]: `boot-${id}` };
  switch (name) {
    case RECORD.bootIpxe:
      return { [SEAL.openpgp]: 'boot' };
    case RECORD.grubCfg:
      return { [SEAL.openpgp]: 'openpgp' };
    case RECORD.manifest:
      return { [SEAL.cms]: 'codesign', [SEAL.openpgp]: 'openpgp' };
    default:
      return {};
  }
}
