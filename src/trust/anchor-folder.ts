import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { type Anchors, decodeAnchors } from './anchors.ts';

/** Reads an `anchors/` folder, or the folder of `init` that holds one. Throws a `Refusal`. */
export async function readAnchorFolder(directory: string): Promise<Anchors> {
  const inner = await optional(join(directory, 'anchors', 'ca.crt'));
  const folder = inner ? join(directory, 'anchors') : directory;
  const ca = inner ?? (await optional(join(folder, 'ca.crt')));
  if (!ca) {
    throw new Refusal('absent', `${directory} holds no ca.crt, so it is no folder of anchors.`, {
      path: directory,
    });
  }
  return decodeAnchors({
    'ca.crt': ca,
    'codesign.crt': await optional(join(folder, 'codesign.crt')),
    'boot.crt': await optional(join(folder, 'boot.crt')),
    'pubring.gpg': await optional(join(folder, 'pubring.gpg')),
    'db.crt': await optional(join(folder, 'db.crt')),
    'dbx.esl': await optional(join(folder, 'dbx.esl')),
  });
}

/** One file of an `anchors/` folder, or of the folder of `init` that holds one; undefined where there is none. */
export async function readAnchorFile(directory: string, name: string): Promise<Uint8Array | undefined> {
  return (await optional(join(directory, 'anchors', name))) ?? optional(join(directory, name));
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
