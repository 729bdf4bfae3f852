import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { entriesBeneath, lstatBeneath, openBeneath, readlinkBeneath } from '../files/beneath.ts';
import { demandSameFile, identityOf } from '../files/file-identity.ts';
import { readInto, reading } from '../files/reading.ts';
import {
  CPIO_TRAILER,
  type CpioEntry,
  cpioEntries,
  cpioPadding,
  encodeCpioHead,
  encodeCpioTrailer,
} from '../formats/archive/cpio.ts';
import type { PackedPath } from '../release/packed.ts';

/**
 * An initrd of the site's own: files that a system would fetch unverified (a preseed, a kickstart, a root image) ride in
 * an archive that the loader verifies. Plain newc, owned by root, without times, in the order of the names, so equal
 * files make equal archives; its length is a multiple of four, so another archive may follow it.
 */

/** What is packed, and out of which folder. */
export interface PackSource extends PackedPath {
  readonly tree: string;
  /** Which paths of a folder stay out. */
  readonly leaveOut?: (path: string) => boolean;
}

export interface Archive {
  /** Bytes. */
  readonly size: number;
  /** Reads the files. @throws Refusal `drifted` where one changed meanwhile; IoError. */
  content(onProgress?: (bytes: number) => void): AsyncGenerator<Uint8Array>;
}

interface Item {
  readonly name: string;
  readonly source: PackSource | undefined;
  readonly kind: 'file' | 'directory' | 'symlink';
  readonly executable: boolean;
  /** Bytes. */
  readonly size: number;
  readonly target: string;
}

/** The format has eight hexadecimal digits for a size. */
const LARGEST = 0xffffffff;
const MOST = 100_000;
const DEEPEST = 64;
const PIECE = 2 ** 20;

/**
 * Looks at what shall be packed, and reads no content yet.
 *
 * @throws UsageError for a thing that is not there, and for two of one place; Refusal `unsafe-path` for links that lead
 *   out, and for what is neither file nor folder; `too-large` for a file of 4 GiB.
 */
export async function planArchive(sources: readonly PackSource[]): Promise<Archive> {
  const items = new Map<string, Item>();
  for (const source of sources) {
    const stat = await lstatBeneath(source.tree, source.from);
    if (!stat) throw new UsageError(`There is no ${join(source.tree, source.from)} to pack.`);
    // It would be packed as a link to a file that is not there.
    if (stat.isSymbolicLink()) throw refuse(source, 'is a symbolic link');
    const name = source.from.slice(source.from.lastIndexOf('/') + 1);
    const at = source.at ?? (stat.isDirectory() ? '' : name);
    await collect(source, at, stat.isDirectory(), items, 0);
  }
  const sorted = withFolders(items);
  if (sorted.length === 0) throw new UsageError('There is nothing to pack: the folder is empty.');
  const entries = cpioEntries(
    sorted.map((item) => {
      const { name, kind, target } = item;
      if (kind === 'symlink') return { kind, name, target };
      const mode = kind === 'directory' || item.executable ? 0o755 : 0o644;
      return kind === 'directory' ? { kind, name, mode } : { kind, name, mode, data: new Uint8Array() };
    }),
    0,
  );
  const records = entries.map((entry, index) => {
    const item = sorted[index] as Item;
    const size = item.kind === 'file' ? item.size : entry.data.length;
    return { entry, item, size, head: encodeCpioHead(entry, size) };
  });
  const trailer = encodeCpioTrailer();
  const end = Buffer.concat([trailer, Buffer.alloc(cpioPadding(trailer.length))]);
  const size = records.reduce((sum, { head, size }) => sum + head.length + size + cpioPadding(size), 0);
  if (size > LARGEST) {
    throw new Refusal('too-large', `An initrd of ${size} bytes is more than any loader takes: 4 GiB.`, {
      size,
    });
  }
  return {
    size: size + end.length,
    async *content(onProgress) {
      let done = 0;
      for (const { entry, item, size: octets, head } of records) {
        yield head;
        for await (const piece of contentOf(entry, item)) {
          done += piece.length;
          onProgress?.(done);
          yield piece;
        }
        yield Buffer.alloc(cpioPadding(octets));
      }
      yield end;
    },
  };
}

async function collect(
  source: PackSource,
  at: string,
  folder: boolean,
  items: Map<string, Item>,
  depth: number,
): Promise<void> {
  if (!folder) return add(await itemOf(source, at), items);
  if (depth > DEEPEST) throw refuse(source, 'lies in too many folders');
  if (at !== '') add({ ...DIRECTORY, name: at, source }, items);
  for (const entry of await entriesBeneath(source.tree, source.from)) {
    const inner = { ...source, from: `${source.from}/${entry.name}` };
    if (source.leaveOut?.(inner.from)) continue;
    const name = at === '' ? entry.name : `${at}/${entry.name}`;
    await collect(inner, name, entry.isDirectory(), items, depth + 1);
  }
}

const DIRECTORY = { kind: 'directory', executable: false, size: 0, target: '' } as const;

async function itemOf(source: PackSource, name: string): Promise<Item> {
  const { tree, from } = source;
  const stat = await lstatBeneath(tree, from);
  if (stat?.isSymbolicLink()) {
    const target = await readlinkBeneath(tree, from);
    if (leadsOut(name, target)) throw refuse(source, `is a link that leads out (${target})`);
    return { ...DIRECTORY, kind: 'symlink', name, source, target };
  }
  if (!stat?.isFile()) throw refuse(source, 'is neither a file nor a folder');
  if (stat.size > LARGEST) {
    throw new Refusal(
      'too-large',
      `${join(tree, from)} has ${stat.size} bytes, and a file of an initrd has fewer than 4 GiB.`,
      { path: from, size: stat.size },
    );
  }
  return { kind: 'file', name, source, executable: (stat.mode & 0o111) !== 0, size: stat.size, target: '' };
}

/** Above the archive's top there is nothing, and an absolute target is somebody else's file. */
function leadsOut(name: string, target: string): boolean {
  if (target.startsWith('/')) return true;
  let depth = name.split('/').length - 1;
  for (const part of target.split('/')) {
    depth += part === '..' ? -1 : part === '.' || part === '' ? 0 : 1;
    if (depth < 0) return true;
  }
  return false;
}

/** Of an overlay, which comes behind: what its verifier would load. */
const NOT_OURS = /^(bootseal(\/|$)|etc\/ld\.so\.)/;

function add(item: Item, items: Map<string, Item>): void {
  const { name, source } = item;
  if (source && NOT_OURS.test(name)) throw refuse(source, `would lie at ${name}, which is the overlay's`);
  // The kernel ends an archive at the one, and terminals obey the others.
  if (source && (name === CPIO_TRAILER || /[\x00-\x1f\x7f]/.test(name)))
    throw new Refusal(
      'unsafe-path',
      `${JSON.stringify(name)} is a name that no archive should hold, and is not packed.`,
      { path: name },
    );
  const other = items.get(item.name);
  if (other && !(other.kind === 'directory' && item.kind === 'directory')) {
    throw new UsageError(`Two things would be packed as ${item.name}; give one of them another place.`);
  }
  items.set(item.name, item);
  if (items.size > MOST) {
    throw new Refusal('too-large', `An initrd of more than ${MOST} files is no initrd of a site's own.`, {});
  }
}

/** In the order of their bytes, each folder before what is in it: the kernel makes none by itself. */
function withFolders(items: ReadonlyMap<string, Item>): readonly Item[] {
  const all = new Map(items);
  for (const { name } of items.values()) {
    for (let at = name.indexOf('/'); at >= 0; at = name.indexOf('/', at + 1)) {
      const folder = name.slice(0, at);
      const there = all.get(folder);
      if (!there) all.set(folder, { ...DIRECTORY, name: folder, source: undefined });
      else if (there.kind !== 'directory')
        throw new UsageError(`${name} would be packed below ${folder}, which is no folder there.`);
    }
  }
  return [...all.values()].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
}

async function* contentOf(entry: CpioEntry, { kind, source, size }: Item): AsyncGenerator<Uint8Array> {
  if (kind !== 'file' || !source) {
    if (entry.data.length > 0) yield entry.data;
    return;
  }
  const path = join(source.tree, source.from);
  const { handle, identity } = await openBeneath(source.tree, source.from);
  try {
    for (let at = 0; at < size; ) {
      const piece = Buffer.alloc(Math.min(PIECE, size - at));
      const read = await reading(path, undefined, () => readInto(handle, piece, at));
      if (read < piece.length) throw drifted(path);
      at += read;
      yield piece;
    }
    const now = await reading(path, undefined, () => handle.stat({ bigint: true }));
    demandSameFile(path, identity, identityOf(now));
    if (now.size !== BigInt(size)) throw drifted(path);
  } finally {
    // What was read is read.
    await handle.close().catch(() => {});
  }
}

function drifted(path: string): Refusal {
  return new Refusal('drifted', `${path} changed while it was packed.`, { path });
}

function refuse({ tree, from }: PackSource, why: string): Refusal {
  return new Refusal('unsafe-path', `${join(tree, from)} ${why}, and is not packed.`, { path: from });
}
