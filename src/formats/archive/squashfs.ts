import { Malformed } from '../../errors/malformed.ts';

/**
 * As much of SquashFS 4.0 as it takes to find a small file (Linux, Documentation/filesystems/squashfs.rst,
 * fs/squashfs/squashfs_fs.h). Numbers are little-endian. Decoded only: mksquashfs writes it.
 */

const FORMAT = 'squashfs';

/** Bytes of the superblock. */
export const SQUASHFS_SUPERBLOCK = 96;
/** Most bytes of a metadata block, unpacked or as it is stored. */
export const METADATA_BLOCK = 8192;
/** Bytes of one fragment's entry in the fragment table. */
export const FRAGMENT_ENTRY = 16;

export type SquashfsCompressor = (typeof COMPRESSORS)[number];
const COMPRESSORS = ['gzip', 'lzma', 'lzo', 'xz', 'lz4', 'zstd'] as const;

/** A place inside a table of metadata: a stored block's distance from the table's start, an offset in its content. */
export interface MetadataPlace {
  readonly block: number;
  readonly offset: number;
}

/** Offsets are bytes from the start of the image. */
export interface SquashfsSuperblock {
  readonly compressor: SquashfsCompressor;
  /** Bytes of a data block: a power of two from 4096 to 1 MiB. */
  readonly blockSize: number;
  /** Bytes used; what follows is padding. */
  readonly size: number;
  readonly inodes: number;
  readonly fragments: number;
  /** Different user and group ids. */
  readonly ids: number;
  readonly root: MetadataPlace;
  readonly inodeTable: number;
  readonly directoryTable: number;
  /** Where the offsets of the blocks of a table stand, eight bytes each. */
  readonly fragmentIndex: number | undefined;
  readonly idIndex: number;
  readonly exportIndex: number | undefined;
}

/** @param bytes the first bytes of the image, 96 or more. @param deviceSize bytes. @throws Malformed */
export function decodeSquashfsSuperblock(bytes: Uint8Array, deviceSize: number): SquashfsSuperblock {
  const view = viewOf(bytes, SQUASHFS_SUPERBLOCK);
  if (view.getUint32(0, true) !== 0x73717368) throw new Malformed(FORMAT, 'no magic', 0);
  if (view.getUint16(28, true) !== 4 || view.getUint16(30, true) !== 0)
    throw new Malformed(FORMAT, 'version is not 4.0', 28);
  const blockSize = view.getUint32(12, true);
  const log = view.getUint16(22, true);
  if (log < 12 || log > 20 || blockSize !== 2 ** log) throw new Malformed(FORMAT, 'block size', 12);
  const compressor = COMPRESSORS[view.getUint16(20, true) - 1];
  if (!compressor) throw new Malformed(FORMAT, 'compressor', 20);
  const size = offsetAt(view, 40, deviceSize + 1);
  const table = (at: number) => offsetAt(view, at, size);
  const optional = (at: number) => (view.getBigUint64(at, true) === NO_TABLE ? undefined : table(at));
  const inodeTable = table(64);
  const directoryTable = table(72);
  const fragments = view.getUint32(16, true);
  const fragmentIndex = optional(80);
  const ids = view.getUint16(26, true);
  if (inodeTable < SQUASHFS_SUPERBLOCK || directoryTable <= inodeTable)
    throw new Malformed(FORMAT, 'tables out of order', 64);
  if (ids === 0) throw new Malformed(FORMAT, 'no id', 26);
  if (fragments > 0 && fragmentIndex === undefined) throw new Malformed(FORMAT, 'no fragment table', 80);
  return {
    compressor,
    blockSize,
    size,
    inodes: view.getUint32(4, true),
    fragments,
    ids,
    root: placeOf(view.getBigUint64(32, true)),
    inodeTable,
    directoryTable,
    fragmentIndex: fragments > 0 ? fragmentIndex : undefined,
    idIndex: table(48),
    exportIndex: optional(88),
  };
}

const NO_TABLE = 0xffff_ffff_ffff_ffffn;

/** How a block is stored. */
export interface StoredBlock {
  /** Bytes on the image. */
  readonly size: number;
  readonly packed: boolean;
}

/** The two bytes before a metadata block. @throws Malformed */
export function decodeMetadataHeader(bytes: Uint8Array): StoredBlock {
  const word = viewOf(bytes, 2).getUint16(0, true);
  const size = word & 0x7fff;
  if (size === 0 || size > METADATA_BLOCK) throw new Malformed(FORMAT, `a metadata block of ${size} bytes`);
  return { size, packed: (word & 0x8000) === 0 };
}

/** The number that says how a data block or fragment is stored; its size 0 is a hole. @throws Malformed */
export function decodeBlockWord(word: number, blockSize: number): StoredBlock {
  const size = word & 0xff_ffff;
  if (word > 0x1ff_ffff || size > blockSize) throw new Malformed(FORMAT, `a block of ${size} bytes`);
  return { size, packed: (word & 0x100_0000) === 0 };
}

/** An entry of the fragment table, 16 bytes. @throws Malformed */
export function decodeFragmentEntry(bytes: Uint8Array, blockSize: number): StoredBlock & { start: number } {
  const view = viewOf(bytes, FRAGMENT_ENTRY);
  const start = offsetAt(view, 0, Number.MAX_SAFE_INTEGER);
  return { start, ...decodeBlockWord(view.getUint32(8, true), blockSize) };
}

export type SquashfsInode =
  /** `size`: bytes of its listing, which begins at `place` of the directory table. */
  | { readonly kind: 'directory'; readonly size: number; readonly place: MetadataPlace }
  /** Behind this the inode lists the sizes of its blocks, four bytes each, which `decodeBlockWord` reads. */
  | {
      readonly kind: 'file';
      readonly size: number;
      readonly start: number;
      /** Whole blocks; the rest is in the fragment. */
      readonly blocks: number;
      readonly fragment: { readonly index: number; readonly offset: number } | undefined;
    }
  /** Behind this the inode has its target, of so many bytes. */
  | { readonly kind: 'symlink'; readonly size: number }
  | { readonly kind: 'other' };

/** Bytes of the part that every inode has. */
export const INODE_HEADER = 16;
const LENGTHS: Readonly<Record<number, number>> = { 1: 32, 2: 32, 3: 24, 8: 40, 9: 56, 10: 24 };

/** Bytes of the fixed part of the inode that begins so. @throws Malformed */
export function inodeLength(header: Uint8Array): number {
  const type = viewOf(header, INODE_HEADER).getUint16(0, true);
  if (type < 1 || type > 14) throw new Malformed(FORMAT, `inode of type ${type}`);
  return LENGTHS[type] ?? INODE_HEADER;
}

/** @param bytes as many as `inodeLength` says. @throws Malformed */
export function decodeInode(bytes: Uint8Array, blockSize: number): SquashfsInode {
  const view = viewOf(bytes, inodeLength(bytes));
  const u16 = (at: number) => view.getUint16(at, true);
  const u32 = (at: number) => view.getUint32(at, true);
  switch (u16(0)) {
    case 1:
      return directory(u16(24), u32(16), u16(26));
    case 8:
      return directory(u32(20), u32(24), u16(34));
    case 2:
      return file(u32(28), u32(16), u32(20), u32(24), blockSize);
    case 9: {
      const wide = (at: number) => offsetAt(view, at, Number.MAX_SAFE_INTEGER);
      return file(wide(24), wide(16), u32(44), u32(48), blockSize);
    }
    case 3:
    case 10:
      return { kind: 'symlink', size: u32(20) };
    default:
      return { kind: 'other' };
  }
}

function directory(size: number, block: number, offset: number): SquashfsInode {
  // Three bytes more than the listing has: `.` and `..`, which are not in it.
  if (size < 3) throw new Malformed(FORMAT, `a directory of ${size} bytes`);
  return { kind: 'directory', size: size - 3, place: place(block, offset) };
}

function file(size: number, start: number, index: number, offset: number, block: number): SquashfsInode {
  const whole = index === 0xffff_ffff;
  const blocks = whole ? Math.ceil(size / block) : Math.floor(size / block);
  return { kind: 'file', size, start, blocks, fragment: whole ? undefined : { index, offset } };
}

export interface DirectoryEntry {
  /** One character a byte. */
  readonly name: string;
  readonly inode: MetadataPlace;
}

/** A directory's whole listing. @throws Malformed */
export function* decodeDirectory(bytes: Uint8Array): Generator<DirectoryEntry> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const demand = (end: number) => {
    if (end > bytes.length) throw new Malformed(FORMAT, 'a directory ends early', bytes.length);
  };
  for (let at = 0; at < bytes.length; ) {
    demand(at + 12);
    const count = view.getUint32(at, true) + 1;
    if (count > 256) throw new Malformed(FORMAT, `${count} directory entries in one run`, at);
    const block = view.getUint32(at + 4, true);
    at += 12;
    for (let left = count; left > 0; left--) {
      demand(at + 8);
      const end = at + 8 + view.getUint16(at + 6, true) + 1;
      demand(end);
      const name = Buffer.from(bytes.subarray(at + 8, end)).toString('latin1');
      yield { name, inode: place(block, view.getUint16(at, true)) };
      at = end;
    }
  }
}

function placeOf(reference: bigint): MetadataPlace {
  if (reference >> 48n) throw new Malformed(FORMAT, 'an inode reference of more than 48 bits');
  return place(Number(reference >> 16n), Number(reference & 0xffffn));
}

function place(block: number, offset: number): MetadataPlace {
  if (offset >= METADATA_BLOCK) throw new Malformed(FORMAT, `offset ${offset} in a metadata block`);
  return { block, offset };
}

/** 64 bits that must be below `end`. */
function offsetAt(view: DataView, at: number, end: number): number {
  const value = view.getBigUint64(at, true);
  if (value >= BigInt(end)) throw new Malformed(FORMAT, `an offset behind byte ${end}`, at);
  return Number(value);
}

function viewOf(bytes: Uint8Array, length: number): DataView {
  if (bytes.length < length) throw new Malformed(FORMAT, 'ends early', bytes.length);
  return new DataView(bytes.buffer, bytes.byteOffset, length);
}
