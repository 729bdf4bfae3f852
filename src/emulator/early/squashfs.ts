import { Malformed } from '../../errors/malformed.ts';
import {
  decodeBlockWord,
  decodeDirectory,
  decodeFragmentEntry,
  decodeInode,
  decodeMetadataHeader,
  FRAGMENT_ENTRY,
  INODE_HEADER,
  inodeLength,
  METADATA_BLOCK,
  type MetadataPlace,
  type SquashfsInode,
  type SquashfsSuperblock,
  type StoredBlock,
} from '../../formats/archive/squashfs.ts';
import type { BlockDevice } from './block-source.ts';
import { type KnownCompressor, unpackBlock } from './squashfs-unpack.ts';

/** Bytes of a directory's listing, or of a file, beyond which nobody looks for a name here. */
const MAX_LISTING = 4 * 1024 * 1024;
const MAX_FILE = 64 * 1024;
const MAX_TARGET = 4096;
/** Symbolic links on one path: the kernel's own limit (include/linux/namei.h, MAXSYMLINKS). */
const MAX_LINKS = 40;

interface Node {
  readonly inode: SquashfsInode;
  /** Reads on behind the inode's fixed part. */
  readonly rest: MetadataReader;
}

/** A squashfs image on a block device, read as the kernel reads it: only what a path leads through. */
export class Squashfs {
  readonly #device: BlockDevice;
  readonly #superblock: SquashfsSuperblock;
  readonly #compressor: KnownCompressor;

  constructor(device: BlockDevice, superblock: SquashfsSuperblock, compressor: KnownCompressor) {
    this.#device = device;
    this.#superblock = superblock;
    this.#compressor = compressor;
  }

  /**
   * What mounting reads (fs/squashfs/super.c): which blocks the tables of ids, fragments and inode numbers
   * have, the first block of ids, and the root's inode.
   *
   * @throws Malformed
   */
  async mount(): Promise<void> {
    const { ids, fragments, inodes, idIndex, fragmentIndex, exportIndex, root } = this.#superblock;
    const [firstIds = 0] = await this.#index(idIndex, ids * 4);
    await new MetadataReader((at) => this.#metadata(at), firstIds, 0).take(4);
    if (fragmentIndex !== undefined) await this.#index(fragmentIndex, fragments * FRAGMENT_ENTRY);
    if (exportIndex !== undefined) await this.#index(exportIndex, inodes * 8);
    const { inode } = await this.#node(root);
    if (inode.kind !== 'directory') throw new Malformed('squashfs', 'the root is no directory');
  }

  /** A small file's content; undefined where no such file is. Symbolic links are followed inside the image. @throws Malformed */
  async read(path: string): Promise<Uint8Array | undefined> {
    const names = path.split('/').filter((name) => name !== '');
    const trail: Node[] = [await this.#node(this.#superblock.root)];
    let links = 0;
    while (names.length > 0) {
      const name = names.shift() as string;
      const here = trail.at(-1) as Node;
      if (name === '.') continue;
      if (name === '..') {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const found = await this.#lookUp(here, name);
      if (!found) return undefined;
      if (found.inode.kind !== 'symlink') {
        trail.push(found);
        continue;
      }
      if (++links > MAX_LINKS) return undefined;
      const target = await this.#target(found);
      if (target.startsWith('/')) trail.splice(1);
      names.unshift(...target.split('/').filter((part) => part !== ''));
    }
    return this.#content(trail.at(-1) as Node);
  }

  async #lookUp({ inode }: Node, name: string): Promise<Node | undefined> {
    if (inode.kind !== 'directory' || inode.size === 0) return undefined;
    if (inode.size > MAX_LISTING) throw new Malformed('squashfs', `a directory of ${inode.size} bytes`);
    const { block, offset } = inode.place;
    const listing = this.#reader(this.#superblock.directoryTable, block, offset);
    for (const entry of decodeDirectory(await listing.take(inode.size)))
      if (entry.name === name) return this.#node(entry.inode);
    return undefined;
  }

  async #node({ block, offset }: MetadataPlace): Promise<Node> {
    const rest = this.#reader(this.#superblock.inodeTable, block, offset);
    const header = await rest.take(INODE_HEADER);
    const body = await rest.take(inodeLength(header) - INODE_HEADER);
    return { inode: decodeInode(Buffer.concat([header, body]), this.#superblock.blockSize), rest };
  }

  async #target({ inode, rest }: Node): Promise<string> {
    if (inode.kind !== 'symlink' || inode.size > MAX_TARGET)
      throw new Malformed('squashfs', 'a symbolic link that is too long');
    return Buffer.from(await rest.take(inode.size)).toString('latin1');
  }

  async #content({ inode, rest }: Node): Promise<Uint8Array | undefined> {
    if (inode.kind !== 'file' || inode.size > MAX_FILE) return undefined;
    const { blockSize } = this.#superblock;
    const words = Buffer.from(await rest.take(inode.blocks * 4));
    const pieces: Uint8Array[] = [];
    let { start } = inode;
    let left = inode.size;
    for (let at = 0; at < words.length; at += 4) {
      const stored = decodeBlockWord(words.readUInt32LE(at), blockSize);
      const length = Math.min(left, blockSize);
      // A block without bytes is a hole.
      pieces.push(
        stored.size === 0 ? new Uint8Array(length) : demandLength(await this.#block(start, stored), length),
      );
      start += stored.size;
      left -= length;
    }
    if (inode.fragment && left > 0) {
      const { index, offset } = inode.fragment;
      const fragment = await this.#fragment(index);
      pieces.push(demandLength(fragment.subarray(offset, offset + left), left));
    }
    return Buffer.concat(pieces);
  }

  async #fragment(index: number): Promise<Uint8Array> {
    const { fragmentIndex, fragments, blockSize } = this.#superblock;
    if (fragmentIndex === undefined || index >= fragments)
      throw new Malformed('squashfs', `there is no fragment ${index}`);
    const places = await this.#index(fragmentIndex, fragments * FRAGMENT_ENTRY);
    const at = index * FRAGMENT_ENTRY;
    const table = places[Math.floor(at / METADATA_BLOCK)] ?? 0;
    const reader = new MetadataReader((start) => this.#metadata(start), table, at % METADATA_BLOCK);
    const { start, ...stored } = decodeFragmentEntry(await reader.take(FRAGMENT_ENTRY), blockSize);
    return this.#block(start, stored);
  }

  async #block(start: number, { size, packed }: StoredBlock): Promise<Uint8Array> {
    const bytes = await this.#read(start, size);
    return packed ? unpackBlock(this.#compressor, bytes, this.#superblock.blockSize) : bytes;
  }

  /** Where the metadata blocks of a table of so many bytes begin. */
  async #index(at: number, octets: number): Promise<number[]> {
    const count = Math.ceil(octets / METADATA_BLOCK);
    if (count * 8 > MAX_LISTING) throw new Malformed('squashfs', `a table of ${octets} bytes`);
    const bytes = Buffer.from(await this.#read(at, count * 8));
    return Array.from({ length: count }, (_, index) => Number(bytes.readBigUInt64LE(index * 8)));
  }

  #reader(table: number, block: number, offset: number): MetadataReader {
    return new MetadataReader((start) => this.#metadata(start), table + block, offset);
  }

  async #metadata(start: number): Promise<{ content: Uint8Array; end: number }> {
    const { size, packed } = decodeMetadataHeader(await this.#read(start, 2));
    const bytes = await this.#read(start + 2, size);
    const content = packed ? await unpackBlock(this.#compressor, bytes, METADATA_BLOCK) : bytes;
    return { content, end: start + 2 + size };
  }

  #read(at: number, length: number): Promise<Uint8Array> {
    if (!(at >= 0 && at + length <= this.#superblock.size))
      throw new Malformed('squashfs', `byte ${at} of ${this.#superblock.size} is asked for`);
    return this.#device.read(at, length);
  }
}

function demandLength(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new Malformed('squashfs', `${bytes.length} bytes of a file, not ${length}`);
}

type ReadMetadata = (start: number) => Promise<{ readonly content: Uint8Array; readonly end: number }>;

/** Reads on through metadata blocks that stand one behind the other. */
class MetadataReader {
  readonly #read: ReadMetadata;
  #next: number;
  #offset: number;
  #content: Uint8Array | undefined;

  constructor(read: ReadMetadata, start: number, offset: number) {
    this.#read = read;
    this.#next = start;
    this.#offset = offset;
  }

  async take(length: number): Promise<Uint8Array> {
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; ) {
      if (!this.#content || this.#offset === this.#content.length) {
        const before = this.#content;
        const { content, end } = await this.#read(this.#next);
        if (before) this.#offset = 0;
        // What is read on from must be full, and what is begun in must reach that far.
        if ((before && before.length !== METADATA_BLOCK) || this.#offset >= content.length)
          throw new Malformed('squashfs', 'a metadata block ends early', this.#next);
        this.#content = content;
        this.#next = end;
      }
      const count = Math.min(length - at, this.#content.length - this.#offset);
      bytes.set(this.#content.subarray(this.#offset, this.#offset + count), at);
      this.#offset += count;
      at += count;
    }
    return bytes;
  }
}
