import { Malformed } from '../../errors/malformed.ts';

/**
 * PE32+ images (Microsoft PE Format, revision 11), as far as firmware and a unified kernel image need them. Strict
 * where two readers could see two images: sections are apart from each other and without gaps in the file, nothing
 * runs past the end, and the certificate table is the last thing there is.
 */
export interface PeImage {
  /** `IMAGE_FILE_MACHINE_*`, as in `PE_MACHINE`. */
  readonly machine: number;
  /** 10: an EFI application. */
  readonly subsystem: number;
  /** Bytes from the start of the file, of the fields that a writer changes or a digest leaves out. */
  readonly at: {
    readonly coff: number;
    readonly optional: number;
    readonly checksum: number;
    /** The data directory's entry of the certificate table: offset and size, 32 bits each. */
    readonly certificates: number;
    readonly sections: number;
  };
  readonly sectionAlignment: number;
  readonly fileAlignment: number;
  readonly sizeOfHeaders: number;
  readonly sizeOfImage: number;
  /** In the order of their bytes in the file. */
  readonly sections: readonly PeSection[];
  /** Where the bytes of the last section end. */
  readonly endOfSections: number;
  /** Undefined where the image is not signed. */
  readonly certificateTable: { readonly offset: number; readonly size: number } | undefined;
}

export interface PeSection {
  /**
   * As far as a NUL or eight bytes; backslash and what is no visible ASCII as `\xHH`. Firmware looks at none. A name
   * like `/4` stays: the table of strings that it points into no loader reads.
   */
  readonly name: string;
  /** Bytes that count; in the file they are padded to `rawSize`. */
  readonly virtualSize: number;
  readonly virtualAddress: number;
  readonly rawSize: number;
  readonly rawOffset: number;
  readonly characteristics: number;
}

/** Machines of UEFI firmware, by the kernel's names for them. */
export const PE_MACHINE = { x86_64: 0x8664, aarch64: 0xaa64, riscv64: 0x5064, loongarch64: 0x6264 } as const;

export const SECTION_HEADER = 40;
const FORMAT = 'PE';
const PE32_PLUS = 0x20b;
const COFF_HEADER = 20;
/** Bytes of the optional header before the data directories. */
const BEFORE_DIRECTORIES = 112;
const CERTIFICATE_DIRECTORY = 4;
/** Windows' own loader takes no more; a unified kernel image has a dozen. */
const MAX_SECTIONS = 96;

export function isPe(bytes: Uint8Array): boolean {
  return bytes[0] === 0x4d && bytes[1] === 0x5a;
}

/** Decodes headers and section table. Throws `Malformed`. */
export function decodePe(bytes: Uint8Array): PeImage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const demand = (end: number, what: string) => {
    if (end > bytes.length) throw new Malformed(FORMAT, `ends in its ${what}`, bytes.length);
  };
  demand(64, 'DOS header');
  if (!isPe(bytes)) throw new Malformed(FORMAT, 'no MZ at its beginning', 0);
  const signature = view.getUint32(0x3c, true);
  if (signature < 64) throw new Malformed(FORMAT, 'a PE header inside the DOS header', 0x3c);
  const coff = signature + 4;
  const optional = coff + COFF_HEADER;
  demand(optional + BEFORE_DIRECTORIES, 'headers');
  if (view.getUint32(signature, true) !== 0x4550) throw new Malformed(FORMAT, 'no PE signature', signature);
  if (view.getUint16(optional, true) !== PE32_PLUS) {
    throw new Malformed(FORMAT, 'not PE32+, which 64-bit firmware loads', optional);
  }
  const directories = view.getUint32(optional + 108, true);
  const sections = optional + view.getUint16(coff + 16, true);
  if (directories <= CERTIFICATE_DIRECTORY || directories > 16) {
    throw new Malformed(FORMAT, `${directories} data directories`, optional + 108);
  }
  // Firmware's loader demands it exactly.
  if (sections !== optional + BEFORE_DIRECTORIES + directories * 8) {
    throw new Malformed(FORMAT, 'an optional header of another length than its data directories', coff + 16);
  }
  const count = view.getUint16(coff + 2, true);
  if (count === 0 || count > MAX_SECTIONS) throw new Malformed(FORMAT, `${count} sections`, coff + 2);
  demand(sections + count * SECTION_HEADER, 'section table');

  const sectionAlignment = view.getUint32(optional + 32, true);
  const fileAlignment = view.getUint32(optional + 36, true);
  if (!isPowerOfTwo(fileAlignment) || fileAlignment < 16 || fileAlignment > 0x10000) {
    throw new Malformed(FORMAT, `a file alignment of ${fileAlignment}`, optional + 36);
  }
  if (!isPowerOfTwo(sectionAlignment) || sectionAlignment < fileAlignment) {
    throw new Malformed(FORMAT, `a section alignment of ${sectionAlignment}`, optional + 32);
  }
  const sizeOfImage = view.getUint32(optional + 56, true);
  const sizeOfHeaders = view.getUint32(optional + 60, true);
  if (sizeOfHeaders < sections + count * SECTION_HEADER || sizeOfHeaders > bytes.length) {
    throw new Malformed(FORMAT, `headers of ${sizeOfHeaders} bytes`, optional + 60);
  }
  const table = Array.from({ length: count }, (_, index) =>
    decodeSection(bytes, view, sections + index * SECTION_HEADER),
  );
  demandApartInMemory(table, sizeOfHeaders, sizeOfImage);
  const ordered = table.toSorted((a, b) => a.rawOffset - b.rawOffset);
  const endOfSections = endInFile(ordered, sizeOfHeaders, fileAlignment, bytes.length);
  const certificates = optional + BEFORE_DIRECTORIES + CERTIFICATE_DIRECTORY * 8;
  const offset = view.getUint32(certificates, true);
  const size = view.getUint32(certificates + 4, true);
  return {
    machine: view.getUint16(coff, true),
    subsystem: view.getUint16(optional + 68, true),
    at: { coff, optional, checksum: optional + 64, certificates, sections },
    sectionAlignment,
    fileAlignment,
    sizeOfHeaders,
    sizeOfImage,
    sections: ordered,
    endOfSections,
    certificateTable: certificateTable(offset, size, endOfSections, bytes.length),
  };
}

function decodeSection(bytes: Uint8Array, view: DataView, at: number): PeSection {
  const [name = ''] = Buffer.from(bytes.subarray(at, at + 8))
    .toString('latin1')
    .split('\0');
  return {
    name: name.replace(/[^!-[\]-~]/g, (octet) => `\\x${Buffer.from(octet, 'latin1').toString('hex')}`),
    virtualSize: view.getUint32(at + 8, true),
    virtualAddress: view.getUint32(at + 12, true),
    rawSize: view.getUint32(at + 16, true),
    rawOffset: view.getUint32(at + 20, true),
    characteristics: view.getUint32(at + 36, true),
  };
}

function demandApartInMemory(table: readonly PeSection[], sizeOfHeaders: number, sizeOfImage: number): void {
  let end = sizeOfHeaders;
  // In the table's own order: loaders copy in it, and what comes later would lie over what came before.
  for (const section of table) {
    if (section.virtualAddress < end) {
      throw new Malformed(FORMAT, `section ${section.name} overlaps what is before it in memory`);
    }
    // Where no size in memory is given, a loader takes the one in the file.
    end = section.virtualAddress + (section.virtualSize || section.rawSize);
    if (end > sizeOfImage)
      throw new Malformed(FORMAT, `section ${section.name} runs past the end of the image`);
  }
}

/** Where the sections end in the file. What lies between two of them no two tools hash alike. */
function endInFile(
  ordered: readonly PeSection[],
  sizeOfHeaders: number,
  fileAlignment: number,
  size: number,
): number {
  let end = sizeOfHeaders;
  for (const { name, rawOffset, rawSize } of ordered) {
    if (rawSize === 0) continue;
    if (rawOffset % fileAlignment !== 0)
      throw new Malformed(FORMAT, `section ${name} is not aligned`, rawOffset);
    if (rawOffset < end) throw new Malformed(FORMAT, `section ${name} overlaps what is before it`, rawOffset);
    if (rawOffset > end) throw new Malformed(FORMAT, `a gap before section ${name}`, end);
    end = rawOffset + rawSize;
    if (end > size) throw new Malformed(FORMAT, `section ${name} runs past the end`, rawOffset);
  }
  return end;
}

function certificateTable(
  offset: number,
  size: number,
  endOfSections: number,
  length: number,
): PeImage['certificateTable'] {
  if (offset === 0 && size === 0) return undefined;
  if (offset < endOfSections) throw new Malformed(FORMAT, 'a certificate table inside a section', offset);
  if (offset % 8 !== 0) throw new Malformed(FORMAT, 'a certificate table that is not aligned', offset);
  // Firmware stops at a rest of less than eight bytes, and then takes none of it.
  if (size % 8 !== 0) throw new Malformed(FORMAT, `a certificate table of ${size} bytes`, offset);
  if (size === 0 || offset + size > length)
    throw new Malformed(FORMAT, 'a certificate table past the end', offset);
  // Firmware hashes what is behind the table by counting bytes from the wrong end.
  if (offset + size < length)
    throw new Malformed(FORMAT, 'bytes behind the certificate table', offset + size);
  return { offset, size };
}

/** The machine that an image is for, of which nothing else is asked: kernels of all ages are laid out in many ways. */
export function peMachine(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 64 || !isPe(bytes)) return undefined;
  const signature = view.getUint32(0x3c, true);
  if (signature + 6 > bytes.length || view.getUint32(signature, true) !== 0x4550) return undefined;
  return view.getUint16(signature + 4, true);
}

/** A section by its name, its bytes without their padding; undefined where there is none. */
export function peSection(bytes: Uint8Array, image: PeImage, name: string): Uint8Array | undefined {
  const [found, second] = image.sections.filter((section) => section.name === name);
  if (second) throw new Malformed(FORMAT, `two sections ${name}`);
  if (!found) return undefined;
  const { rawOffset, rawSize, virtualSize } = found;
  return bytes.subarray(rawOffset, rawOffset + Math.min(rawSize, virtualSize));
}

/**
 * The optional header's CheckSum, over a file whose own is not counted: 16-bit words, carries added back, and the
 * length (as ImageHlp's CheckSumMappedFile).
 */
export function peChecksum(bytes: Uint8Array, image: Pick<PeImage, 'at'>): number {
  const { checksum } = image.at;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const even = bytes.length & ~1;
  let sum = 0;
  for (let at = 0; at < even; at += 2) {
    if (at === checksum || at === checksum + 2) continue;
    sum += view.getUint16(at, true);
    if (sum > 0xffff_ffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  }
  if (even < bytes.length) sum += bytes[even] ?? 0;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum + bytes.length;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
