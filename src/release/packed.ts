import { UsageError } from '../errors/usage.ts';
import { isReservedPath } from '../formats/records/manifest.ts';
import { isSafePath } from '../formats/records/safe-path.ts';
import type { LayoutKind } from './layouts/kind.ts';

/** What of a tree rides in an initrd of the site's own, so that the loader's check covers it. */

/** Where that initrd stands in the tree. */
export const PACK = 'bootseal-pack.img';

export interface PackedPath {
  /** A file or folder of the tree. */
  readonly from: string;
  /** Its place in the archive; default: a file by its own name, a folder's content at the top. */
  readonly at?: string;
}

export interface Pack {
  readonly entries: readonly PackedPath[];
  /** By which the system finds what was packed. */
  readonly words: readonly string[];
}

/**
 * Reads `PATH` and `PATH=PATH THERE`. A root image goes where its system looks for one, and says so on the command line.
 *
 * @param rootfs of the tree.
 * @throws UsageError
 */
export function packOf(
  wanted: readonly string[],
  rootfs: string | undefined,
  { name, packed }: LayoutKind,
): Pack | undefined {
  if (wanted.length === 0) return undefined;
  const entries: PackedPath[] = [];
  const words: string[] = [];
  for (const text of wanted) {
    const [from = '', named] = text.split(/=(.*)/s);
    const at = named?.replace(/^\//, '');
    if (!isSafePath(from) || (at !== undefined && !isSafePath(at))) {
      throw new UsageError(
        `${JSON.stringify(text)} is nothing to pack; write a path as it is inside the tree, or PATH=PATH-IN-THE-INITRD ("bootseal pack" takes files from elsewhere).`,
      );
    }
    if (from === PACK || isReservedPath(from))
      throw new UsageError(`${from} is made by sealing, and is not packed.`);
    if (from !== rootfs || at !== undefined) {
      entries.push({ from, ...(at === undefined ? {} : { at }) });
      continue;
    }
    if (!packed) {
      throw new UsageError(
        `${name} is not known to take a root image out of an initrd; where it does, name the place: --pack ${from}=PATH.`,
      );
    }
    const place = packed.at(from.slice(from.lastIndexOf('/') + 1));
    entries.push({ from, at: place });
    words.push(...packed.words(place));
  }
  return { entries, words };
}

/** What a folder of a tree may hold that its author meant for the machine, and no machine gets so. */
const CONFIGURATIONS = ['preseed.cfg', 'ks.cfg', 'config.ign', 'autoinstall.yaml', 'user-data'];

/**
 * Says what the site's initrd holds, since its seal does not, and what lies beside it without being part of the release.
 *
 * @param entries names at the top of the tree.
 * @param notes gets one sentence a thing.
 */
export function notePacks(
  pack: Pack | undefined,
  entries: readonly string[],
  artifacts: readonly { readonly path: string }[],
  notes: string[],
): void {
  for (const { from, at } of pack?.entries ?? [])
    notes.push(`${PACK} holds ${from}${at === undefined ? '' : ` as /${at}`}.`);
  const used = (name: string) =>
    artifacts.some(({ path }) => path === name) || pack?.entries.some(({ from }) => from === name);
  if (entries.includes(PACK) && !pack && !used(PACK))
    notes.push(
      `${PACK} of an earlier sealing lies in the tree and is no part of this release; it may be removed.`,
    );
  for (const name of CONFIGURATIONS)
    if (entries.includes(name) && !used(name))
      notes.push(`${name} lies in the tree and is no part of this release; --pack ${name} makes it one.`);
}

/** Bytes: below that, no half of a machine's memory is in danger. */
const SMALL = 16 * 2 ** 20;
/** What a kernel and its early userspace take for themselves, in bytes. */
const SYSTEM = 96 * 2 ** 20;

/**
 * The command line with what a packed root needs. Without `root=` the initramfs is a tmpfs of half of the memory that is
 * free at the time: what does not fit is cut off with one line, and the kernel goes on with an image of full length
 * and wrong content. A ramfs has no limit (Documentation/filesystems/ramfs-rootfs-initramfs.rst), and where memory itself
 * is too small for it the kernel panics. `rootfstype=tmpfs` asks for the limit again, from Linux 6.8 on beside `root=`, too.
 *
 * @param artifacts of the release, the pack among them.
 * @param notes gets one sentence a thing that was added, and one on memory.
 * @throws UsageError for words that lead elsewhere, or bring the limit back.
 */
export function withPacked(
  cmdline: readonly string[],
  pack: Pack,
  artifacts: readonly { readonly role: string; readonly path: string; readonly size: number }[],
  notes: string[],
): readonly string[] {
  const initrds = artifacts.filter(({ role }) => role === 'initrd' || role === 'overlay');
  const size = initrds.find(({ path }) => path === PACK)?.size ?? 0;
  const keyOf = (word: string) => /^[^=]*/.exec(word)?.[0];
  const other = cmdline.find(
    (word) => !pack.words.includes(word) && pack.words.some((wanted) => keyOf(wanted) === keyOf(word)),
  );
  if (other !== undefined) {
    throw new UsageError(
      `The command line says ${other}, and the root image that was packed needs ${pack.words.join(' ')}.`,
    );
  }
  const lacking = pack.words.filter((word) => !cmdline.includes(word));
  const words = [...cmdline, ...lacking];
  const limit = words.find((word) => /^rootfstype=.*tmpfs/.test(word));
  if (size > SMALL && limit !== undefined) {
    throw new UsageError(
      `The command line says ${limit}, by which machines would cut off what was packed at half of their memory; leave that word out.`,
    );
  }
  if (size > SMALL && !words.some((word) => /^(root=.|rootfstype=)/.test(word))) {
    words.push('rootfstype=ramfs');
    lacking.push('rootfstype=ramfs');
  }
  if (lacking.length > 0)
    notes.push(`What was packed needs these words, so they were added: ${lacking.join(' ')}.`);
  if (size > SMALL) {
    // Archive and copy are there at once; others are compressed, to a third or so.
    const rest = initrds.reduce((sum, artifact) => sum + artifact.size, 0) - size;
    const needed = Math.ceil((2 * size + 4 * rest + SYSTEM) / 2 ** 20);
    notes.push(`A machine needs about ${needed} MiB of memory to unpack these initrds.`);
  }
  return words;
}
