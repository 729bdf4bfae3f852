import { machineOfElf } from '../archive/elf.ts';
import { gzipBeginning } from '../archive/gzip-beginning.ts';
import { PE_MACHINE } from './pe.ts';

/**
 * What kind of kernel a file is, told by its first bytes alone: what loaders themselves look for. Several kinds are
 * EFI programs besides (a bzImage with an EFI stub, an arm64 Image), so the narrower name is the one that is said.
 */
export type KernelShape =
  /** Linux x86 boot protocol (Documentation/arch/x86/boot.rst): `HdrS` at 0x202. */
  | 'bzImage'
  /** Linux Documentation/arch/arm64/booting.rst: `ARM\x64` at 56. */
  | 'arm64 Image'
  /** Linux Documentation/arch/riscv/boot-image-header.rst: `RSC\x05` at 56. */
  | 'RISC-V Image'
  /** A compressed kernel that unpacks itself (Linux drivers/firmware/efi/libstub/zboot-header.S): `MZ`, `zimg` at 4. */
  | 'EFI zboot'
  /** Any other EFI program: `MZ`, and a PE header. */
  | 'EFI program'
  /** Multiboot 0.6.96 §3.1.1. */
  | 'Multiboot'
  /** Multiboot2 §3.1.2. */
  | 'Multiboot2'
  | 'ELF';

/**
 * Which processors start it, by the name that `uname -m` has for them; `x86` for those of both widths, since a loader
 * starts 32-bit code on either, and `arm` for 32 bits.
 */
export type KernelMachine = 'x86' | 'aarch64' | 'arm' | 'riscv64' | 'loongarch64';

export interface KernelFacts {
  readonly shape: KernelShape;
  /** Undefined where its bytes do not say, or name a processor that is not known here. */
  readonly machine: KernelMachine | undefined;
  /** Packed as a whole, as arm64's `Image.gz`; loaders differ in whether they take that. */
  readonly packed: 'gzip' | undefined;
}

/** Bytes in which a header of Multiboot stands, and of Multiboot2. */
const MULTIBOOT = 8192;
const MULTIBOOT2 = 32_768;

/** Bytes of the shorter of both ELF headers. */
const ELF_HEADER = 52;

/**
 * What kind of kernel this is; undefined where it is none that is known here.
 *
 * @param head the file's first 64 KiB, or all of it.
 */
export function kernelFacts(head: Uint8Array): KernelFacts | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return plainFacts(bytes);
  const inner = plainFacts(Buffer.from(gzipBeginning(bytes)));
  return inner && { ...inner, packed: 'gzip' };
}

/** `arm64 Image, gzip`, for people. */
export function kernelText({ shape, packed }: KernelFacts): string {
  return packed === undefined ? shape : `${shape}, ${packed}`;
}

/** Whether processors of this architecture (`uname -m`) start it; undefined where nobody can tell. */
export function startsOn({ machine }: KernelFacts, arch: string): boolean | undefined {
  switch (machine) {
    case undefined:
      return undefined;
    case 'x86':
      return /^(x86_64|i[3-6]86)$/.test(arch);
    case 'arm':
      return /^arm(v[0-9]+[a-z]*)?$/.test(arch);
    default:
      return machine === arch;
  }
}

function plainFacts(bytes: Buffer): KernelFacts | undefined {
  const has = (at: number, magic: string) => bytes.toString('latin1', at, at + magic.length) === magic;
  const is = (shape: KernelShape, machine: KernelMachine | undefined): KernelFacts => ({
    shape,
    machine,
    packed: undefined,
  });
  if (has(0x202, 'HdrS')) return is('bzImage', 'x86');
  if (has(56, 'ARM\x64')) return is('arm64 Image', 'aarch64');
  if (has(56, 'RSC\x05')) return is('RISC-V Image', machineOfPe(bytes));
  if (has(0, 'MZ') && has(4, 'zimg')) return is('EFI zboot', machineOfPe(bytes));
  const multiboot = multibootShape(bytes);
  if (multiboot) return is(multiboot, 'x86');
  if (has(0, 'MZ')) return is('EFI program', machineOfPe(bytes));
  if (has(0, '\x7fELF') && bytes.length >= ELF_HEADER) return is('ELF', elfMachine(bytes));
  return undefined;
}

function machineOfPe(bytes: Buffer): KernelMachine | undefined {
  const at = bytes.length < 64 ? bytes.length : bytes.readUInt32LE(0x3c);
  if (at + 6 > bytes.length || bytes.toString('latin1', at, at + 4) !== 'PE\0\0') return undefined;
  const machine = bytes.readUInt16LE(at + 4);
  const I386 = 0x14c;
  if (machine === PE_MACHINE.x86_64 || machine === I386) return 'x86';
  // Thumb and mixed Thumb-2: what 32-bit ARM firmware starts.
  if (machine === 0x1c2 || machine === 0x1c4) return 'arm';
  const [name] = Object.entries(PE_MACHINE).find(([, value]) => value === machine) ?? [];
  return name as Exclude<keyof typeof PE_MACHINE, 'x86_64'> | undefined;
}

function elfMachine(bytes: Buffer): KernelMachine | undefined {
  const machine = machineOfElf(bytes);
  return machine === 'x86_64' || machine === 'i386' ? 'x86' : machine;
}

/** Each header is followed by a checksum that makes its fields add up to nothing: a word by chance is no header. */
function multibootShape(bytes: Buffer): 'Multiboot' | 'Multiboot2' | undefined {
  const word = (at: number) => (at + 4 <= bytes.length ? bytes.readUInt32LE(at) : 0);
  for (let at = 0; at + 12 <= Math.min(bytes.length, MULTIBOOT2); at += 4) {
    const first = word(at);
    if (first === 0x1badb002 && at + 12 <= MULTIBOOT && sum(first, word(at + 4), word(at + 8)) === 0)
      return 'Multiboot';
    // Architecture 0 is 32-bit protected mode of x86; the other one that there is, MIPS, is nothing we boot.
    const is2 = first === 0xe85250d6 && at % 8 === 0 && word(at + 4) === 0;
    if (is2 && sum(first, word(at + 8), word(at + 12)) === 0) return 'Multiboot2';
  }
  return undefined;
}

function sum(...words: readonly number[]): number {
  return words.reduce((total, word) => (total + word) >>> 0, 0);
}
