import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { CPIO_MAX_BYTES, CPIO_MAX_ENTRIES, cpioPadding } from '../formats/archive/cpio.ts';
import { detectCompression, openStream, xzCheckName } from '../formats/archive/decompress.ts';
import { LZ4_LEGACY_MAGIC } from '../formats/archive/lz4.ts';
import { EntryStream } from './initramfs-stream.ts';
import { type InitramfsTree, RootFileSystem } from './initramfs-tree.ts';
import { type Keep, Unpacker } from './initramfs-unpack.ts';

export interface InitramfsLimits {
  /** Bytes of everything unpacked, kept or not. Default 1 GiB. */
  readonly maxBytes?: number;
  /** Default 200 000. */
  readonly maxEntries?: number;
  /**
   * Which files' content to retain, asked of each name of a file, symlinks to folders followed. Default: files of at
   * most 1 MiB. Of the others size and attributes are known, but `read` refuses.
   */
  readonly keep?: Keep;
  /** Paths that will be read: where symlinks lead elsewhere, `keep` is asked of the path here and the size there. */
  readonly asked?: readonly string[];
  /** What refusals call the parts. Default `initrd 1`, `initrd 2` … */
  readonly names?: readonly string[];
}

const KEEP_OCTETS = 2 ** 20;

/**
 * What a Linux kernel sees of the initrds a loader hands it (init/initramfs.c; Documentation/driver-api/
 * early-userspace/buffer-format.rst): each part begins at a multiple of four bytes (iPXE and GRUB pad), and
 * holds cpio archives, plain or each in a compressed stream of its own, with zeros between them. Later
 * entries override earlier ones.
 *
 * Where a kernel prints a line and boots on with half an initramfs, this refuses: `malformed` (also for a
 * compression that cannot be decoded here), `too-large`. The tree holds views of `parts` and of unpacked
 * pieces; nothing is copied that arrived in one.
 */
export async function readInitramfs(
  parts: readonly Uint8Array[],
  limits: InitramfsLimits = {},
): Promise<InitramfsTree> {
  const keep = limits.keep ?? ((_path: string, size: number) => size <= KEEP_OCTETS);
  const first = await unpack(parts, limits, keep);
  // A link may stand before what it leads to, and name content that has gone by: then all is read once more.
  const missed = first.unpacker.missed(limits.asked ?? []);
  const { tree } = missed.size === 0 ? first : await unpack(parts, limits, keep, missed);
  return tree;
}

async function unpack(
  parts: readonly Uint8Array[],
  limits: InitramfsLimits,
  keep: Keep,
  origins?: ReadonlySet<number>,
): Promise<{ readonly tree: RootFileSystem; readonly unpacker: Unpacker }> {
  const tree = new RootFileSystem();
  const unpacker = new Unpacker(tree, keep, origins);
  const stream = new EntryStream(unpacker, {
    maxEntries: limits.maxEntries ?? CPIO_MAX_ENTRIES,
    maxBytes: limits.maxBytes ?? CPIO_MAX_BYTES,
  });
  for (const [index, bytes] of parts.entries()) {
    const initrd = limits.names?.[index] ?? `initrd ${index + 1}`;
    await readPart({ bytes, initrd, behind: parts.slice(index + 1) }, stream, tree);
  }
  tree.finish();
  return { tree, unpacker };
}

interface Part {
  readonly bytes: Uint8Array;
  readonly initrd: string;
  /** The parts behind it. */
  readonly behind: readonly Uint8Array[];
}

async function readPart(part: Part, stream: EntryStream, tree: RootFileSystem): Promise<void> {
  const { bytes, initrd } = part;
  const before = tree.archives.length;
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    const offset = at;
    try {
      at = await readArchive(part, offset, stream, tree);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const message = `The archive at byte ${offset} of ${initrd} cannot be unpacked: ${error.message}.`;
      throw new Refusal('malformed', message, { initrd, offset, format: error.format }, { cause: error });
    }
  }
  if (tree.archives.length === before) {
    throw new Refusal('malformed', `${initrd} holds no archive.`, { initrd });
  }
}

/** Unpacks the archive at `offset`; returns the offset behind it. */
async function readArchive(
  part: Part,
  offset: number,
  stream: EntryStream,
  tree: RootFileSystem,
): Promise<number> {
  const { bytes, initrd } = part;
  if (bytes[offset] === 0x30) {
    // The kernel looks for a plain archive at multiples of four only; elsewhere it is junk to it.
    if (offset & 3) throw new Malformed('newc cpio', 'begins unaligned, so a kernel drops it');
    tree.archives.push({ initrd, offset, compression: 'none' });
    stream.start();
    const taken = stream.feed(bytes.subarray(offset));
    if (!stream.idle) throw new Malformed('newc cpio', 'ends in mid-entry', taken);
    return offset + taken;
  }
  const found = detectCompression(bytes, offset);
  if (found === undefined) throw new Malformed('initramfs', 'neither a cpio archive nor a known compression');
  if (found.decoded === undefined) throw new Malformed('initramfs', `cannot decode ${found.name}`);
  const compression = found.decoded;
  if (compression === 'xz') {
    const check = xzCheckName(bytes, offset);
    // The kernel's decoder is built without the larger checks: "settings that are not supported by this XZ decoder".
    if (check !== 'CRC32' && check !== 'none') {
      throw new Malformed('xz', `${check}, which no stock kernel unpacks; compress with --check=crc32`);
    }
  }
  tree.archives.push({ initrd, offset, compression });
  const opened = openStream(compression, bytes, offset);
  stream.start();
  let octets = 0;
  for await (const piece of opened.content) {
    octets += piece.length;
    if (stream.feed(piece) < piece.length) throw new Malformed('newc cpio', 'junk in a compressed archive');
  }
  if (!stream.idle) throw new Malformed('newc cpio', 'the compressed archive ends in mid-entry');
  const end = opened.end();
  if (compression === 'lz4') {
    // A kernel would take it for an empty one, but nobody means that: it is cut.
    if (octets === 0) throw new Malformed('lz4', 'no chunk', offset);
    demandEnd(part, end, stream.aligned);
  }
  return end;
}

/**
 * lz4 has no end of its own: where a part ends with it, the kernel takes the next four bytes, of whatever part, for the
 * size of one more chunk, unless they are zero or a magic.
 */
function demandEnd({ bytes, behind }: Part, end: number, aligned: boolean): void {
  const window: number[] = [];
  for (const [index, piece] of [bytes, ...behind].entries()) {
    const from = index === 0 ? end : 0;
    window.push(...piece.subarray(from, from + 4));
    if (window.length >= 4 || index === behind.length) break;
    window.push(...Array<number>(cpioPadding(piece.length)).fill(0));
  }
  const next = window.slice(0, 4);
  if (next.length < 4 || next.every((octet) => octet === 0)) return;
  if (aligned && LZ4_LEGACY_MAGIC.every((octet, index) => next[index] === octet)) return;
  throw new Malformed('lz4', 'no end before the next initrd; put four zeros behind it', end);
}
