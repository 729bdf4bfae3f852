import { isIpxeScript } from '../../formats/script/ipxe-script.ts';
import type { BootImage } from './contract.ts';
import { EACCES_PERMANENT, type Status } from './failure.ts';
import { formatUri, type Uri } from './uri.ts';

/** What iPXE takes an image for. Only those named in `EXECUTABLE` can be selected or executed. */
export type ImageType = 'script' | 'bzImage' | 'EFI' | 'PXE-NBP' | 'raw' | 'DER' | 'PEM' | 'PNG';

const EXECUTABLE: ReadonlySet<ImageType> = new Set(['script', 'bzImage', 'EFI', 'PXE-NBP', 'raw']);

/** An image in iPXE's memory. Source: `src/include/ipxe/image.h`. */
export interface Image {
  name: string;
  readonly uri: Uri | undefined;
  readonly bytes: Uint8Array;
  readonly type: ImageType | undefined;
  cmdline: string | undefined;
  trusted: boolean;
  /** The common name demanded by the `imgverify` that made it trusted. */
  signer: string | undefined;
  autofree: boolean;
  hidden: boolean;
  replacement: Image | undefined;
}

/** The list of images, the two tags, and the requirement of trust. Source: iPXE `src/core/image.c`. */
export class Images {
  /** In the order in which a kernel gets them. */
  private list: readonly Image[] = [];
  selected: Image | undefined;
  current: Image | undefined;
  requireTrust = false;
  private permanent = false;
  private unnamed = 0;

  all(): readonly Image[] {
    return this.list;
  }

  /** Bytes of every registered image. */
  totalBytes(): number {
    return this.list.reduce((sum, image) => sum + image.bytes.length, 0);
  }

  nextName(): string {
    this.unnamed += 1;
    return `img${this.unnamed - 1}`;
  }

  register(image: Image): void {
    this.list = [...this.list, image];
  }

  isRegistered(image: Image): boolean {
    return this.list.includes(image);
  }

  unregister(image: Image): void {
    this.list = this.list.filter((other) => other !== image);
  }

  /** The first of that name: a second image of the same name is found by no command. */
  find(name: string): Image | undefined {
    return this.list.find((image) => image.name === name);
  }

  /** The selected image, as long as it is registered. */
  findSelected(): Image | undefined {
    return this.list.find((image) => image === this.selected);
  }

  /** `imgtrust`. Once permanent, it changes no more; asking for what is already so succeeds. */
  setTrust(required: boolean, permanent: boolean): Status {
    if (!this.permanent) {
      this.requireTrust = required;
      this.permanent = permanent;
    }
    return this.requireTrust === required ? undefined : EACCES_PERMANENT;
  }

  isPermanent(): boolean {
    return this.permanent;
  }
}

export function isExecutable(image: Image): boolean {
  return image.type !== undefined && EXECUTABLE.has(image.type);
}

export function bootImage(image: Image): BootImage {
  return {
    name: image.name,
    url: image.uri === undefined ? undefined : formatUri(image.uri),
    bytes: image.bytes,
    verified: image.trusted,
    signer: image.trusted ? image.signer : undefined,
    cmdline: image.cmdline,
  };
}

/** Bytes that fit between 0x7c00 and 0xa0000. */
const MAX_NBP = 0xa0000 - 0x7c00;

/**
 * What kind of image these bytes are. A BIOS iPXE takes any small file that is nothing else for a PXE boot
 * program, which has no signature to be known by. Sources: the `probe` functions under `src/image/` and
 * `src/arch/x86/image/`.
 */
export function probe(
  bytes: Uint8Array,
  platform: 'pcbios' | 'efi',
  anyKernel: boolean,
): ImageType | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (isIpxeScript(bytes)) return 'script';
  if (platform === 'pcbios' && isBzImage(view)) return 'bzImage';
  if (platform === 'efi' && isPe(view)) return 'EFI';
  if (isDer(view)) return 'DER';
  if (view.subarray(0, 8).equals(Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'))) return 'PNG';
  if (view.subarray(0, 11).toString('latin1') === '-----BEGIN ') return 'PEM';
  if (platform === 'pcbios' && view.length > 0 && view.length <= MAX_NBP) return 'PXE-NBP';
  return anyKernel && view.length > 0 ? 'raw' : undefined;
}

/** Linux boot protocol: the boot flag at 0x1fe, `HdrS` at 0x202, and as many setup sectors as it claims. */
function isBzImage(view: Buffer): boolean {
  if (view.length < 0x268) return false;
  const setup = ((view.readUInt8(0x1f1) || 4) + 1) * 512;
  return (
    view.readUInt16LE(0x1fe) === 0xaa55 &&
    view.subarray(0x202, 0x206).toString('latin1') === 'HdrS' &&
    setup <= view.length
  );
}

/** Bytes of command line that a bzImage takes, the final NUL included. */
export function bzImageCmdlineSize(bytes: Uint8Array): number {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return view.readUInt16LE(0x206) >= 0x0206 ? view.readUInt32LE(0x238) : 0x7ff;
}

function isPe(view: Buffer): boolean {
  if (view.length < 64 || view.subarray(0, 2).toString('latin1') !== 'MZ') return false;
  const header = view.readUInt32LE(0x3c);
  return header + 4 <= view.length && view.subarray(header, header + 4).toString('latin1') === 'PE\0\0';
}

/** One DER value and nothing behind it. */
function isDer(view: Buffer): boolean {
  if (view.length < 2 || view[0] !== 0x30) return false;
  const first = view.readUInt8(1);
  if (first < 0x80) return view.length === 2 + first;
  const octets = first & 0x7f;
  if (octets < 1 || octets > 4 || view.length < 2 + octets) return false;
  return view.length === 2 + octets + view.readUIntBE(2, octets);
}
