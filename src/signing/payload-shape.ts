import { detectCompression } from '../formats/archive/decompress.ts';
import { kernelFacts } from '../formats/efi/kernel-shape.ts';
import type { Role } from '../formats/records/manifest.ts';

/**
 * Shapes that a payload of a role usually has. One of another shape is sealed all the same, since nobody knows every
 * loader; whoever signs it is told.
 */

interface Shape {
  readonly at: number;
  readonly magic: string;
}

const ROOTS: readonly Shape[] = [
  // squashfs, EROFS, ext2 to ext4, ISO 9660, XFS.
  { at: 0, magic: 'hsqs' },
  { at: 1024, magic: '\xe2\xe1\xf5\xe0' },
  { at: 1080, magic: '\x53\xef' },
  { at: 32769, magic: 'CD001' },
  { at: 0, magic: 'XFSB' },
];

/** `0707` and the kind of the archive; the kernel takes newc with and without checksums. */
const ARCHIVE: readonly Shape[] = [
  { at: 0, magic: '070701' },
  { at: 0, magic: '070702' },
];

/**
 * What a payload of this role is expected to be, where it is nothing of the kind; undefined where it is, and for roles
 * that may be anything.
 *
 * @param head the content's first 64 KiB, or all of it.
 * @param startsModule the release has a module, so that its kernel must be one that starts it.
 */
export function unlikeItsRole(head: Uint8Array, role: Role, startsModule = false): string | undefined {
  const has = (shapes: readonly Shape[]) =>
    shapes.some(({ at, magic }) => Buffer.from(magic, 'latin1').equals(head.subarray(at, at + magic.length)));
  const facts = kernelFacts(head);
  const multiboot = facts?.shape.startsWith('Multiboot') === true;
  const compressed = detectCompression(head)?.decoded !== undefined;
  switch (role) {
    case 'kernel':
      if (startsModule)
        return facts?.shape.startsWith('Multiboot')
          ? undefined
          : 'a multiboot kernel, which would start the module';
      return facts || compressed ? undefined : KERNEL;
    case 'module':
      return (facts || compressed) && !multiboot ? undefined : KERNEL;
    case 'initrd':
    case 'overlay':
      return has(ARCHIVE) || compressed ? undefined : 'an archive that a kernel unpacks';
    case 'rootfs':
      return has(ROOTS) ? undefined : 'an image of a file system that is known here';
    default:
      return undefined;
  }
}

const KERNEL = 'a kernel that is known here';
