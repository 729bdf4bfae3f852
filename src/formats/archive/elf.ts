import { Malformed } from '../../errors/malformed.ts';

/**
 * What an ELF program says about itself before it runs: which machine it is for, which loader and libraries it
 * wants. System V ABI, "Object Files" and "Program Loading and Dynamic Linking"; 64-bit little-endian, which is
 * what every machine that Bootseal serves runs.
 */
export interface Elf {
  /** e_machine, by the name that `uname -m` has for it. */
  readonly machine: 'x86_64' | 'aarch64' | 'riscv64' | 'loongarch64';
  /** The loader's path (PT_INTERP); undefined for a static program or a library. */
  readonly interpreter: string | undefined;
  /** DT_NEEDED, in order. */
  readonly needed: readonly string[];
  /** DT_RUNPATH or DT_RPATH, `$ORIGIN` as it stands. */
  readonly runpath: readonly string[];
}

const MACHINES = new Map<number, Elf['machine']>([
  [62, 'x86_64'],
  [183, 'aarch64'],
  [243, 'riscv64'],
  [258, 'loongarch64'],
]);

/** Those whose programs are read, by the name that `uname -m` has for them. */
export const ELF_MACHINES: readonly Elf['machine'][] = [...MACHINES.values()];

const FORMAT = 'ELF';
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const DT_STRSZ = 10n;
const DT_RPATH = 15n;
const DT_RUNPATH = 29n;
const MAX_SEGMENTS = 256;
const MAX_DYNAMIC = 4096;
/** Bytes of a path or a library's name. */
const MAX_NAME = 4096;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: bigint;
  readonly size: number;
}

/** Whether a file begins as ELF does. */
export function isElf(bytes: Uint8Array): boolean {
  return [0x7f, 0x45, 0x4c, 0x46].every((octet, at) => bytes[at] === octet);
}

/** Machines of programs that are told apart, and that no overlay is built for. */
const OTHER_MACHINES = new Map<number, 'i386' | 'arm'>([
  [3, 'i386'],
  [40, 'arm'],
]);

/**
 * Which machine an ELF file is for, of any class and type: a program, a kernel, a kernel's module. Undefined for one
 * that is big-endian, cut before it says so, or for a machine that is not known.
 */
export function machineOfElf(bytes: Uint8Array): Elf['machine'] | 'i386' | 'arm' | undefined {
  if (!isElf(bytes) || bytes.length < 20 || bytes[5] !== 1) return undefined;
  const machine = (bytes[18] ?? 0) | ((bytes[19] ?? 0) << 8);
  return MACHINES.get(machine) ?? OTHER_MACHINES.get(machine);
}

/** Reads the program headers and the dynamic section. Throws `Malformed`. */
export function decodeElf(bytes: Uint8Array): Elf {
  if (!isElf(bytes)) throw new Malformed(FORMAT, 'no ELF magic', 0);
  if (bytes.length < 64) throw new Malformed(FORMAT, 'ends in its header', bytes.length);
  if (bytes[4] !== 2 || bytes[5] !== 1) throw new Malformed(FORMAT, 'not 64-bit little-endian', 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint16(16, true);
  if (type !== 2 && type !== 3) throw new Malformed(FORMAT, 'neither a program nor a library', 16);
  const machine = MACHINES.get(view.getUint16(18, true));
  if (machine === undefined) throw new Malformed(FORMAT, 'for a machine that is not known', 18);

  const segments = readSegments(view);
  const interpreter = segments.find((segment) => segment.type === PT_INTERP);
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
  return {
    machine,
    interpreter: interpreter && text(bytes, interpreter.offset, interpreter.offset + interpreter.size),
    ...(dynamic ? readDynamic(bytes, view, segments, dynamic) : { needed: [], runpath: [] }),
  };
}

function readSegments(view: DataView): Segment[] {
  const start = number(view, 32);
  const entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (count === 0) return [];
  if (entrySize !== 56 || count > MAX_SEGMENTS) throw new Malformed(FORMAT, 'odd program headers', 54);
  if (start + count * entrySize > view.byteLength)
    throw new Malformed(FORMAT, 'ends in its program headers', start);
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * entrySize;
    const segment = {
      type: view.getUint32(at, true),
      offset: number(view, at + 8),
      address: view.getBigUint64(at + 16, true),
      size: number(view, at + 32),
    };
    const read = [PT_LOAD, PT_DYNAMIC, PT_INTERP].includes(segment.type);
    if (read && segment.offset + segment.size > view.byteLength) {
      throw new Malformed(FORMAT, 'a segment beyond its end', at);
    }
    return segment;
  });
}

function readDynamic(
  bytes: Uint8Array,
  view: DataView,
  segments: readonly Segment[],
  dynamic: Segment,
): Pick<Elf, 'needed' | 'runpath'> {
  const entries: [tag: bigint, value: bigint][] = [];
  for (let at = dynamic.offset; at + 16 <= dynamic.offset + dynamic.size; at += 16) {
    const tag = view.getBigUint64(at, true);
    if (tag === 0n) break;
    if (entries.length === MAX_DYNAMIC) throw new Malformed(FORMAT, 'too many dynamic entries', at);
    entries.push([tag, view.getBigUint64(at + 8, true)]);
  }
  const value = (tag: bigint) => entries.find(([other]) => other === tag)?.[1];
  const address = value(DT_STRTAB);
  const size = value(DT_STRSZ);
  if (address === undefined || size === undefined)
    throw new Malformed(FORMAT, 'no string table', dynamic.offset);
  const home = segments.find(
    (segment) =>
      segment.type === PT_LOAD &&
      address >= segment.address &&
      address + size <= segment.address + BigInt(segment.size),
  );
  if (!home) throw new Malformed(FORMAT, 'a string table that is not loaded', dynamic.offset);
  const strings = home.offset + Number(address - home.address);
  const end = strings + Number(size);
  const stringAt = (offset: bigint): string => {
    if (offset >= size) throw new Malformed(FORMAT, 'a name beyond the string table', strings);
    return text(bytes, strings + Number(offset), end);
  };
  const paths = value(DT_RUNPATH) ?? value(DT_RPATH);
  return {
    needed: entries.filter(([tag]) => tag === DT_NEEDED).map(([, offset]) => stringAt(offset)),
    runpath: paths === undefined ? [] : stringAt(paths).split(':'),
  };
}

/** Printable ASCII up to a NUL, which must come before `end`. */
function text(bytes: Uint8Array, start: number, end: number): string {
  const stop = bytes.indexOf(0, start);
  if (stop < 0 || stop >= end) throw new Malformed(FORMAT, 'a name without end', start);
  const decoded = Buffer.from(bytes.subarray(start, stop)).toString('latin1');
  if (decoded.length > MAX_NAME || !/^[\x21-\x7e]+$/.test(decoded))
    throw new Malformed(FORMAT, 'an odd name', start);
  return decoded;
}

function number(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Malformed(FORMAT, 'a number out of range', at);
  return Number(value);
}
