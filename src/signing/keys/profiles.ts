import { parse } from 'smol-toml';
import { z } from 'zod';
import { readPackageFile } from '../../files/package-file.ts';

/** Certificate profiles: `certs/*.toml`, one a purpose. */

const PROFILE = z.strictObject({
  common_name: z.string(),
  ca: z.boolean().default(false),
  path_length: z.number().int().min(0).optional(),
  key_usage: z.array(z.enum(['digitalSignature', 'keyCertSign'])).min(1),
  ext_key_usage: z.array(z.enum(['codeSigning'])),
  /** Lifetime; of a release leaf: days after best-before. */
  days: z.number().int().positive(),
  rsa_bits: z.number().int().min(2048),
});

export type Profile = z.infer<typeof PROFILE>;
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

/** Reads one of the profiles that ship with Bootseal. Throws an `IoError`. */
export function readProfile(name: ProfileName): Profile {
  return PROFILE.parse(parse(readPackageFile('certs', `${name}.toml`).toString()));
}
