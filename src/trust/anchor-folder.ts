import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { UsageError } from '../errors/usage.ts';
import { isGnupgHome } from '../files/gnupg-home.ts';
import { unwrapKeyring } from '../formats/openpgp/keyring-file.ts';
import { type Anchors, decodeAnchors, KEYRINGS, type OpenpgpPurpose } from './anchors.ts';
import { decodeOr } from './check.ts';

/** Reads an `anchors/` folder, or the folder of `init` that holds one. Throws a `Refusal`. */
export async function readAnchorFolder(directory: string): Promise<Anchors> {
  const inner = await optional(join(directory, 'anchors', 'ca.crt'));
  const folder = inner ? join(directory, 'anchors') : directory;
  const ca = inner ?? (await optional(join(folder, 'ca.crt')));
  if (!ca) {
    await demandNoGnupgHome(directory);
    throw new Refusal('absent', `${directory} holds no ca.crt, so it is no folder of anchors.`, {
      path: directory,
    });
  }
  return decodeAnchors({
    'ca.crt': ca,
    'codesign.crt': await optional(join(folder, 'codesign.crt')),
    'boot.crt': await optional(join(folder, 'boot.crt')),
    'manifest.crt': await optional(join(folder, 'manifest.crt')),
    'pubring.gpg': await optional(join(folder, 'pubring.gpg')),
    'script.gpg': await optional(join(folder, 'script.gpg')),
    'manifest.gpg': await optional(join(folder, 'manifest.gpg')),
    'db.crt': await optional(join(folder, 'db.crt')),
    'dbx.esl': await optional(join(folder, 'dbx.esl')),
  });
}

/** Whoever names one means the keys in it. Throws a `UsageError`. */
async function demandNoGnupgHome(directory: string): Promise<void> {
  if (!(await isGnupgHome(directory))) return;
  throw new UsageError(
    `${directory} is a GnuPG home, and anchors are a folder with ca.crt; "gpg --export > pubring.gpg" writes its keys for one.`,
  );
}

/** One file of an `anchors/` folder, or of the folder of `init` that holds one; undefined where there is none. */
export async function readAnchorFile(directory: string, name: string): Promise<Uint8Array | undefined> {
  return (await optional(join(directory, 'anchors', name))) ?? optional(join(directory, name));
}

/** A keyring of such a folder as binary packets, which gpgv and GRUB read, whatever it was wrapped in. */
export async function readAnchorKeyring(
  directory: string,
  purpose: OpenpgpPurpose,
): Promise<Uint8Array | undefined> {
  const name = KEYRINGS[purpose];
  const bytes = await readAnchorFile(directory, name);
  return bytes && decodeOr(name, () => Buffer.concat(unwrapKeyring(bytes)));
}

async function optional(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw unreadable(path, error);
  }
}
