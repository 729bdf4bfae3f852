import { basename, join } from 'node:path';
import { isThere } from './read-if-there.ts';

/** What GnuPG keeps in a home, and nobody else makes: `private-keys-v1.d`, with or without public keys beside it. */
const MARKS = ['pubring.kbx', 'trustdb.gpg', 'public-keys.d', 'private-keys-v1.d'] as const;

/** Whether a folder is a GnuPG home, or the folder of private keys in one. @throws IoError where that cannot be told. */
export async function isGnupgHome(folder: string): Promise<boolean> {
  if (basename(folder) === 'private-keys-v1.d') return true;
  for (const name of MARKS) if (await isThere(join(folder, name))) return true;
  return false;
}
