import { Malformed } from '../../errors/malformed.ts';
import { decodePe, type PeImage, peChecksum, SECTION_HEADER } from './pe.ts';

/** Writing PE images: sections behind those of a stub, and certificate tables behind all. */

export interface NewSection {
  readonly name: string;
  readonly data: Uint8Array;
}

const FORMAT = 'PE';
/** Initialised data, readable: what `objcopy --add-section` gives a section, too. */
const READABLE_DATA = 0x40000040;
/** Each section begins a page of its own: some firmware maps them so. */
const PAGE = 4096;
/** What the fields of a section can say, and some firmware reads as a signed number. */
export const MAX_PE = 0x7fff_ffff;

/**
 * Puts sections behind those of an image that is not signed. Whatever stands behind its sections (symbols, debug
 * strings) is left out: a section would otherwise begin after a gap, which firmware and signing tools hash
 * differently. The same input gives the same bytes.
 *
 * Throws `Malformed` for an image without room in its headers, for a name it has already, and beyond 2 GiB.
 */
export function addPeSections(base: Uint8Array, sections: readonly NewSection[]): Uint8Array {
  const image = decodePe(base);
  if (image.certificateTable) throw new Malformed(FORMAT, 'signed already');
  const { at, fileAlignment } = image;
  const headers = at.sections + (image.sections.length + sections.length) * SECTION_HEADER;
  const room = Math.min(image.sizeOfHeaders, ...image.sections.map(({ virtualAddress }) => virtualAddress));
  if (headers > room)
    throw new Malformed(FORMAT, `no room for ${sections.length} more section headers`, room);
  let address = roundUp(Math.max(...image.sections.map((one) => one.virtualAddress + one.virtualSize)), PAGE);
  // The section alignment is a stub's own; where it is more than a page it wins.
  const alignment = Math.max(PAGE, image.sectionAlignment);
  address = roundUp(address, alignment);
  let offset = roundUp(image.endOfSections, fileAlignment);
  if (offset !== image.endOfSections)
    throw new Malformed(FORMAT, 'a last section that is not aligned', offset);
  const placed = sections.map(({ name, data }) => {
    const place = { name, data, address, offset, rawSize: roundUp(data.length, fileAlignment) };
    address = roundUp(address + data.length, alignment);
    offset += place.rawSize;
    return place;
  });
  if (address > MAX_PE || offset > MAX_PE) throw new Malformed(FORMAT, 'an image of more than 2 GiB');

  const out = Buffer.alloc(offset);
  out.set(base.subarray(0, image.endOfSections));
  for (const [index, { name, data, address: virtual, offset: raw, rawSize }] of placed.entries()) {
    if (!/^\.[a-z]{1,7}$/.test(name)) throw new Malformed(FORMAT, `no section can be called ${name}`);
    if ([...image.sections, ...placed.slice(0, index)].some((other) => other.name === name)) {
      throw new Malformed(FORMAT, `a second section ${name}`);
    }
    if (data.length === 0) throw new Malformed(FORMAT, `an empty section ${name}`);
    const header = at.sections + (image.sections.length + index) * SECTION_HEADER;
    out.fill(0, header, header + SECTION_HEADER);
    out.write(name, header, 'latin1');
    out.writeUInt32LE(data.length, header + 8);
    out.writeUInt32LE(virtual, header + 12);
    out.writeUInt32LE(rawSize, header + 16);
    out.writeUInt32LE(raw, header + 20);
    out.writeUInt32LE(READABLE_DATA, header + 36);
    out.set(data, raw);
  }
  out.writeUInt16LE(image.sections.length + placed.length, at.coff + 2);
  // No symbols are left: pointer and count.
  out.fill(0, at.coff + 8, at.coff + 16);
  const initialised = placed.reduce((sum, { rawSize }) => sum + rawSize, out.readUInt32LE(at.optional + 8));
  out.writeUInt32LE(initialised, at.optional + 8);
  out.writeUInt32LE(address, at.optional + 56);
  return withChecksum(out, image);
}

/** `WIN_CERTIFICATE` (UEFI 2.10 §32.2.4): revision 2.0, PKCS#7 SignedData. */
const REVISION = 0x0200;
const PKCS_SIGNED_DATA = 0x0002;
const CERTIFICATE_HEADER = 8;
/** Signatures of one image that are looked at. */
const MAX_SIGNATURES = 16;

/** The signatures of an image, one DER element each, in their order; none where it is not signed. */
export function peSignatures(bytes: Uint8Array, { certificateTable }: PeImage): readonly Uint8Array[] {
  if (!certificateTable) return [];
  const { offset, size } = certificateTable;
  const table = bytes.subarray(offset, offset + size);
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const found: Uint8Array[] = [];
  for (let at = 0; at < table.length; ) {
    if (table.length - at < CERTIFICATE_HEADER) throw new Malformed(FORMAT, 'a cut certificate', offset + at);
    const length = view.getUint32(at, true);
    if (length <= CERTIFICATE_HEADER || at + length > table.length) {
      throw new Malformed(FORMAT, `a certificate of ${length} bytes`, offset + at);
    }
    if (view.getUint16(at + 4, true) !== REVISION || view.getUint16(at + 6, true) !== PKCS_SIGNED_DATA) {
      throw new Malformed(FORMAT, 'a certificate of an unknown type', offset + at);
    }
    if (found.length === MAX_SIGNATURES) {
      throw new Malformed(FORMAT, `more than ${MAX_SIGNATURES} signatures`, offset + at);
    }
    found.push(withoutPadding(table.subarray(at + CERTIFICATE_HEADER, at + length), offset + at));
    const next = at + roundUp(length, 8);
    if (table.subarray(at + length, next).some((octet) => octet !== 0)) {
      throw new Malformed(FORMAT, 'something between two certificates', offset + at + length);
    }
    at = next;
  }
  return found;
}

/** Some tools count the zeros up to the next multiple of eight as part of a certificate. */
function withoutPadding(content: Uint8Array, at: number): Uint8Array {
  const first = content[1] ?? 0;
  const octets = first < 0x80 ? 0 : first & 0x7f;
  if (content[0] !== 0x30 || octets > 3) throw new Malformed(FORMAT, 'a certificate that is no DER', at);
  let length = octets === 0 ? first : 0;
  for (let index = 0; index < octets; index++) length = length * 256 + (content[2 + index] ?? 0);
  const end = 2 + octets + length;
  const rest = content.subarray(end);
  if (end > content.length || rest.length >= 8 || rest.some((octet) => octet !== 0)) {
    throw new Malformed(FORMAT, 'a certificate that is not one DER element', at);
  }
  return content.subarray(0, end);
}

/**
 * The image with these signatures and no others. Its Authenticode digest is the same before and after.
 *
 * @param image of `bytes`, signed or not.
 */
export function withPeSignatures(
  bytes: Uint8Array,
  image: PeImage,
  signatures: readonly Uint8Array[],
): Uint8Array {
  const end = roundUp(image.certificateTable?.offset ?? bytes.length, 8);
  const size = signatures.reduce((sum, one) => sum + roundUp(CERTIFICATE_HEADER + one.length, 8), 0);
  if (end + size > MAX_PE) throw new Malformed(FORMAT, 'an image of more than 2 GiB');
  const out = Buffer.alloc(end + size);
  out.set(bytes.subarray(0, image.certificateTable?.offset ?? bytes.length));
  let at = end;
  for (const one of signatures) {
    // With its padding, as signtool counts: osslsigncode before 2.6 takes nothing else for a signature.
    const length = roundUp(CERTIFICATE_HEADER + one.length, 8);
    out.writeUInt32LE(length, at);
    out.writeUInt16LE(REVISION, at + 4);
    out.writeUInt16LE(PKCS_SIGNED_DATA, at + 6);
    out.set(one, at + CERTIFICATE_HEADER);
    at += length;
  }
  out.writeUInt32LE(size === 0 ? 0 : end, image.at.certificates);
  out.writeUInt32LE(size, image.at.certificates + 4);
  return withChecksum(out, image);
}

function withChecksum(out: Buffer, image: PeImage): Uint8Array {
  out.writeUInt32LE(peChecksum(out, image), image.at.checksum);
  return out;
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
