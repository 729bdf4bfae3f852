import { Mime } from 'mime';
import other from 'mime/types/other.js';
import standard from 'mime/types/standard.js';

const TEXT = 'text/plain; charset=utf-8';
const OCTETS = 'application/octet-stream';

/**
 * What netboot calls things, over what the registries call them: to those `.sfs` is a Spotfire document,
 * `.sig` always OpenPGP (ours may be CMS), and `.manifest` a list for a browser's cache.
 */
const types = new Mime(standard, other).define(
  {
    [TEXT]: ['ipxe', 'manifest', 'sha256', 'sha512', 'roothash', 'cfg', 'conf', 'log'],
    [OCTETS]: [
      ...['sig', 'sfs', 'erofs', 'img', 'verity', 'gpg', 'cpio'],
      ...['efi', 'kpxe', 'kkpxe', 'pxe', 'lkrn', '0'],
    ],
  },
  true,
);

/** Files of a tree that have no extension to go by. */
const BY_NAME: Readonly<Record<string, string>> = { version: TEXT, 'grub.cfg': TEXT, SHA256SUMS: TEXT };

/**
 * The content type that a file's name gives it; bytes where it says nothing, as for kernels
 * (`vmlinuz-linux`, `vmlinuz-6.1.0-18-amd64`, whose version must not be read as an extension).
 */
export function contentType(name: string): string {
  const base = name.slice(name.lastIndexOf('/') + 1);
  const named = Object.hasOwn(BY_NAME, base) ? BY_NAME[base] : undefined;
  if (named !== undefined) return named;
  if (/^(?:vmlinuz|bzImage|Image)/.test(base) || !base.includes('.')) return OCTETS;
  const type = types.getType(base) ?? OCTETS;
  return type.startsWith('text/') && !type.includes('charset=') ? `${type}; charset=utf-8` : type;
}
