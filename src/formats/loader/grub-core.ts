import { Malformed } from '../../errors/malformed.ts';
import { decodeOpenpgpKey, type OpenpgpKey } from '../openpgp/openpgp-key.ts';
import { decodePackets, PACKET } from '../openpgp/openpgp-packet.ts';

/** What `grub-mkimage` put into an image beside its code (GRUB `include/grub/kernel.h`, `util/mkimage.c`). */
export interface GrubCore {
  /** The first lines that it runs, of `-c`. */
  readonly config: string;
  readonly prefix: string;
  /** Keys that it trusts from the start, of `-k`. */
  readonly keys: readonly OpenpgpKey[];
  /** Files of its memory disk, of `-m`, where that is a tar. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

const MAGIC = Buffer.from('mimg', 'latin1');
/** `OBJ_TYPE_…` */
const TYPE = { memdisk: 1, config: 2, prefix: 3, key: 4 } as const;
const HEADER = 8;
const MAX_OBJECTS = 1024;
const MAX_PACKETS = 200;
const BLOCK = 512;

/** Reads it out of the code of an image, wherever it stands there. Undefined where there is none. */
export function decodeGrubCore(code: Uint8Array): GrubCore | undefined {
  const bytes = Buffer.from(code.buffer, code.byteOffset, code.length);
  for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) {
    const core = coreAt(bytes, at, 4) ?? coreAt(bytes, at, 8);
    if (core) return core;
  }
  return undefined;
}

/** @param width of its numbers, in bytes: 4 on a BIOS, 8 where the machine has 64 bits. */
function coreAt(bytes: Buffer, start: number, width: 4 | 8): GrubCore | undefined {
  const number = (at: number) => (width === 4 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at)));
  if (start + 3 * width > bytes.length) return undefined;
  const offset = number(start + width);
  const size = number(start + 2 * width);
  if (offset !== 3 * width || size < offset || start + size > bytes.length) return undefined;
  const texts = { config: '', prefix: '' };
  const keys: OpenpgpKey[] = [];
  let files: ReadonlyMap<string, Uint8Array> = new Map();
  let count = 0;
  for (let at = start + offset; at + HEADER <= start + size; count += 1) {
    const type = bytes.readUInt32LE(at);
    const length = bytes.readUInt32LE(at + 4);
    if (length < HEADER || at + length > start + size || count > MAX_OBJECTS) return undefined;
    const content = bytes.subarray(at + HEADER, at + length);
    if (type === TYPE.config) texts.config = textOf(content);
    if (type === TYPE.prefix) texts.prefix = textOf(content);
    if (type === TYPE.key) keys.push(...openpgpKeysOf(content));
    if (type === TYPE.memdisk) files = tarFiles(content);
    at += length;
  }
  return { ...texts, keys, files };
}

function textOf(content: Buffer): string {
  const end = content.indexOf(0);
  return content.toString('latin1', 0, end < 0 ? undefined : end);
}

/** Public keys of a file as GRUB reads it: key after key, and whatever else is there passed over. */
export function openpgpKeysOf(bytes: Uint8Array): OpenpgpKey[] {
  // Objects are padded with zeros, which begin no packet.
  let end = bytes.length;
  for (let tries = 0; tries < HEADER; tries += 1) {
    try {
      return decodePackets(bytes.subarray(0, end), MAX_PACKETS)
        .filter(({ tag }) => tag === PACKET.publicKey || tag === PACKET.publicSubkey)
        .map(({ body }) => decodeOpenpgpKey(body));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      if (bytes[end - 1] !== 0) break;
      end -= 1;
    }
  }
  return [];
}

/** Plain files of a ustar archive; nothing where it is none. */
function tarFiles(archive: Buffer): ReadonlyMap<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + BLOCK <= archive.length && archive[at] !== 0; ) {
    const header = archive.subarray(at, at + BLOCK);
    if (header.toString('latin1', 257, 262) !== 'ustar') return files;
    const size = Number.parseInt(header.toString('latin1', 124, 135), 8);
    const name = textOf(header.subarray(0, 100));
    if (!Number.isSafeInteger(size) || at + BLOCK + size > archive.length) return files;
    files.set(name, archive.subarray(at + BLOCK, at + BLOCK + size));
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return files;
}
