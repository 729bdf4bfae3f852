import {
  isSums,
  otherCaOf,
  otherIpxeSeal,
  RECORD,
  SEAL,
  SUMS,
  VERITY,
} from '../formats/records/seal-names.ts';
import type { OpenpgpPurpose } from '../trust/anchors.ts';

/**
 * The key that a seal is by. A key has one purpose: payload (`codesign`, `openpgp`, the release leaf), scripts (`boot`,
 * `openpgp-script`) or records (`manifest`, `openpgp-manifest`). `leaf` is the release leaf; with a dash and an id, the
 * key of another CA whose loaders shall start the release too.
 */
export type KeyName = OwnLeaf | OpenpgpKeyName | LoaderKeyName;
/** Leaves whose certificates verifiers hold, so that a seal need not carry them. */
export type OwnLeaf = 'codesign' | 'manifest';
export type OpenpgpKeyName = 'openpgp' | 'openpgp-script' | 'openpgp-manifest';
export type LoaderKeyName = 'boot' | 'leaf' | `boot-${string}` | `leaf-${string}`;

export const OWN_LEAVES = ['codesign', 'manifest'] as const satisfies readonly OwnLeaf[];

/** What each OpenPGP key signs. */
export const OPENPGP_KEYS = {
  openpgp: 'payload',
  'openpgp-script': 'script',
  'openpgp-manifest': 'manifest',
} as const satisfies Record<OpenpgpKeyName, OpenpgpPurpose>;

export const OPENPGP_KEY_NAMES = Object.keys(OPENPGP_KEYS) as readonly OpenpgpKeyName[];

export function isOpenpgpKey(key: string): key is OpenpgpKeyName {
  return Object.hasOwn(OPENPGP_KEYS, key);
}

/** Whether a key is the leaf of a release, minted for it. */
export function isLeaf(key: KeyName): key is 'leaf' | `leaf-${string}` {
  return key.startsWith('leaf');
}

export function isOwnLeaf(key: string): key is OwnLeaf {
  return (OWN_LEAVES as readonly string[]).includes(key);
}

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

/** The seals of a record or script; none for a checksum, which has none. */
export function recordSeals(name: string): SealKeys {
  if (name.endsWith(VERITY.rootHash)) return { [VERITY.seal]: 'manifest' };
  // The key of the manifest: a list by the key that machines take payload by would be payload to them.
  if (isSums(name)) return { [SUMS.seal]: 'openpgp-manifest' };
  const id = otherCaOf(name);
  if (id !== undefined) return { [SEAL.openpgp]: `boot-${id}` };
  switch (name) {
    case RECORD.bootIpxe:
      return { [SEAL.openpgp]: 'boot' };
    case RECORD.grubCfg:
      return { [SEAL.openpgp]: 'openpgp-script' };
    case RECORD.manifest:
      return { [SEAL.cms]: 'manifest', [SEAL.openpgp]: 'openpgp-manifest' };
    default:
      return {};
  }
}
