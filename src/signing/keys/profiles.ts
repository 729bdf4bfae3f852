import { parse } from 'smol-toml';
import { IoError } from '../../errors/io.ts';
import { readPackageFile } from '../../files/package-file.ts';

/** Certificate profiles: `certs/*.toml`, one a purpose. */

const KEY_USAGES = ['digitalSignature', 'keyCertSign'] as const;
const EXT_KEY_USAGES = ['codeSigning'] as const;

export interface Profile {
  readonly common_name: string;
  readonly ca: boolean;
  readonly path_length: number | undefined;
  readonly key_usage: readonly (typeof KEY_USAGES)[number][];
  readonly ext_key_usage: readonly (typeof EXT_KEY_USAGES)[number][];
  /** Lifetime; of a release leaf: days after best-before. */
  readonly days: number;
  readonly rsa_bits: number;
}

export type ProfileName =
  | 'root'
  | 'ca'
  | 'codesign'
  | 'boot'
  | 'manifest'
  | 'release'
  | 'snapshot'
  | 'pk'
  | 'kek'
  | 'db';

/**
 * Reads one of the profiles that ship with Bootseal. A key that is not known is refused like one that is missing: a
 * constraint that nobody reads constrains nothing.
 *
 * @throws IoError
 */
export function readProfile(name: ProfileName): Profile {
  // A schema would cost each seal the library of schemas, for a file of the package's own.
  const { common_name, ca, path_length, key_usage, ext_key_usage, days, rsa_bits, ...others } = parse(
    readPackageFile('certs', `${name}.toml`).toString(),
  );
  if (
    typeof common_name === 'string' &&
    (ca === undefined || typeof ca === 'boolean') &&
    (path_length === undefined || isWhole(path_length, 0)) &&
    isListOf(KEY_USAGES, key_usage) &&
    key_usage.length > 0 &&
    isListOf(EXT_KEY_USAGES, ext_key_usage) &&
    isWhole(days, 1) &&
    isWhole(rsa_bits, 2048) &&
    Object.keys(others).length === 0
  )
    return { common_name, ca: ca ?? false, path_length, key_usage, ext_key_usage, days, rsa_bits };
  throw new IoError(
    `certs/${name}.toml is no profile of a certificate; install Bootseal again.`,
    name,
    'EINVAL',
  );
}

function isWhole(value: unknown, least: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least;
}

function isListOf<T extends string>(known: readonly T[], value: unknown): value is readonly T[] {
  return Array.isArray(value) && value.every((one) => known.some((each) => each === one));
}
