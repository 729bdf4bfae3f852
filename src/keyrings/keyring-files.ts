import { open } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { UsageError } from '../errors/usage.ts';
import { entriesIfThere, isThere, statIfThere } from '../files/read-if-there.ts';
import { unwrapKeyring, whyEmpty } from '../formats/openpgp/keyring-file.ts';
import { splitTransferableKeys, type TransferableKey } from '../formats/openpgp/openpgp-transferable.ts';
import { decodeRevokedList, decodeTrustedList, type TrustEntry } from '../formats/openpgp/trust-list.ts';
import { decodeOr } from '../trust/check.ts';
import type { KeyringSource } from './keyring-sources.ts';

/** Reads what users have their certificates in: keyrings, armor, keyboxes, folders of them. */

/** Debian's whole keyring is 29 MB and 55,000 packets. */
const LARGEST_FILE = 128 * 2 ** 20;
const LARGEST_SOURCE = 256 * 2 ** 20;
const MOST_PACKETS = 1_000_000;
const MOST_FILES = 20_000;
const DEEPEST = 8;
const KEYRINGS: ReadonlySet<string> = new Set(['.gpg', '.asc', '.pgp', '.openpgp', '.kbx']);

export interface SourceFiles {
  readonly source: KeyringSource;
  /** Files of a folder that are no keyrings by their names, and were not read. */
  readonly passedOver: readonly string[];
}

/** @param path a keyring file, with its `-trusted` and `-revoked` beside it, or a folder. Throws a `Refusal`. */
export async function readKeyringSource(path: string): Promise<SourceFiles> {
  const found = await statIfThere(path);
  if (!found) throw new UsageError(`There is no ${path}; name a keyring, or a folder of certificates.`);
  if (!found.isFile() && !found.isDirectory()) {
    throw new UsageError(
      `${path} is neither a file nor a folder; name a keyring, or a folder of certificates.`,
    );
  }
  const { keyrings, lists, passedOver } = found.isDirectory()
    ? await filesOf(path)
    : { keyrings: [path], lists: await companions(path), passedOver: [] };
  const certificates: TransferableKey[] = [];
  let octets = 0;
  for (const file of keyrings) {
    const bytes = await read(file);
    octets += bytes.length;
    if (octets > LARGEST_SOURCE) {
      throw new Refusal('too-large', `${path} holds more than ${LARGEST_SOURCE} bytes.`, { path });
    }
    for (const certificate of decodeKeyringFile(file, bytes)) certificates.push(certificate);
  }
  let trusted: TrustEntry[] | undefined;
  const revoked: string[] = [];
  for (const file of lists) {
    const bytes = await read(file);
    if (file.endsWith('-revoked')) {
      for (const fingerprint of decodeOr(file, () => decodeRevokedList(bytes))) revoked.push(fingerprint);
    } else trusted = (trusted ?? []).concat(decodeOr(file, () => decodeTrustedList(bytes)));
  }
  if (certificates.length === 0) {
    throw new Refusal(
      'absent',
      `${path} holds no OpenPGP certificate${await whyNone(keyrings, passedOver)}.`,
      {
        path,
      },
    );
  }
  return { source: { name: path, certificates, trusted, revoked }, passedOver };
}

/** What stands in the place of certificates, where that can be told. */
async function whyNone(keyrings: readonly string[], passedOver: readonly string[]): Promise<string> {
  for (const file of keyrings) {
    const found = whyEmpty(await read(file));
    if (found !== undefined) return `: ${keyrings.length > 1 ? `${file} is ` : 'it is '}${found}`;
  }
  if (passedOver.some((file) => file.endsWith('.key') || basename(file) === 'secring.gpg')) {
    return ', but private keys of GnuPG; "gpg --export > FILE" writes their public halves';
  }
  if (passedOver.some((file) => file.endsWith('.rev'))) {
    return ', but revocation certificates of GnuPG, which hold no key; "gpg --export > FILE" writes a keyring';
  }
  return '';
}

/** `archlinux-trusted` and `archlinux-revoked` beside `archlinux.gpg`. */
async function companions(path: string): Promise<string[]> {
  const stem = join(dirname(path), basename(path, extname(path)));
  const found: string[] = [];
  for (const list of [`${stem}-trusted`, `${stem}-revoked`]) {
    // A list that is there and cannot be read must not count as one that is not.
    if (await isThere(list)) found.push(list);
  }
  return found;
}

async function filesOf(
  folder: string,
): Promise<{ keyrings: string[]; lists: string[]; passedOver: string[] }> {
  const found = { keyrings: [] as string[], lists: [] as string[], passedOver: [] as string[] };
  let count = 0;
  const visit = async (path: string, depth: number): Promise<void> => {
    const entries = await entriesIfThere(path);
    for (const entry of [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const inner = join(path, entry.name);
      if (++count > MOST_FILES) {
        throw new Refusal('too-large', `${folder} holds more than ${MOST_FILES} files.`, { path: folder });
      }
      if (entry.isDirectory()) {
        if (depth === DEEPEST) {
          throw new Refusal('too-large', `${inner} lies deeper than ${DEEPEST} folders.`, { path: inner });
        }
        await visit(inner, depth + 1);
      } else if (!entry.isFile()) found.passedOver.push(inner);
      else if (/-(trusted|revoked)$/.test(entry.name)) found.lists.push(inner);
      else if (isKeyring(inner)) found.keyrings.push(inner);
      else found.passedOver.push(inner);
    }
  };
  await visit(folder, 0);
  return found;
}

/**
 * By its name. In a GnuPG home the trust database and the old secret keyring end as keyrings do; keyboxd's database
 * counts, since a home that has one keeps its certificates there, and must not pass for an empty one.
 */
function isKeyring(path: string): boolean {
  const name = basename(path);
  if (name === 'trustdb.gpg' || name === 'secring.gpg') return false;
  return KEYRINGS.has(extname(name)) || path.endsWith('/public-keys.d/pubring.db');
}

/** A keyring in any of its wrappings. Throws a `Refusal` (`malformed`) that names the file. */
export function decodeKeyringFile(name: string, bytes: Uint8Array): TransferableKey[] {
  return decodeOr(name, () =>
    unwrapKeyring(bytes).flatMap((packets) => splitTransferableKeys(packets, MOST_PACKETS)),
  );
}

async function read(path: string): Promise<Uint8Array> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw unreadable(path, error);
  });
  try {
    const { size } = await handle.stat();
    if (size > LARGEST_FILE) {
      throw new Refusal('too-large', `${path} is larger than ${LARGEST_FILE} bytes.`, { path, size });
    }
    return await handle.readFile();
  } catch (error) {
    throw error instanceof Refusal ? error : unreadable(path, error);
  } finally {
    await handle.close();
  }
}
