import { Refusal } from '../errors/refusal.ts';
import { isSafeSegment } from '../formats/records/safe-path.ts';

/** Longest name, bytes as sent. */
export const MAX_NAME = 1024;

/**
 * The path that a client asks a site for, by the name that it sent over HTTP (decoded) or TFTP.
 *
 * ROMs send `undionly.kpxe`, `/undionly.kpxe` and, GRUB up to 2.04 and shim, `//grubx64.efi` or
 * `/boot//grub/grub.cfg`; a DHCP root path that ends in a slash makes `//boot.ipxe` of every address. So a missing
 * slash is added, and repeated ones are one. What is allowed beyond that is little, because whatever is reaches
 * `Site.find` and from there, perhaps, a file system: a backslash, as Windows' boot manager sends it, a NUL, a dot
 * segment and every byte above 126 are refused.
 *
 * @returns `/`, or an absolute path of safe segments; a `Refusal` `unsafe-path` (the client plays tricks) or `absent`
 *   (a directory, which no server here lists).
 */
export function wirePath(name: string): string | Refusal {
  if (name.length > MAX_NAME) return unsafePath(`The path is longer than ${MAX_NAME} bytes`);
  const path = `/${name}`.replace(/\/+/g, '/');
  if (path === '/') return path;
  const segments = path.slice(1).split('/');
  const folder = segments.at(-1) === '';
  for (const segment of folder ? segments.slice(0, -1) : segments) {
    if (segment === '.' || segment === '..') return unsafePath('The path has a dot segment');
    if (!isSafeSegment(segment)) return unsafePath('The path has a segment that no file of a release has');
  }
  return folder
    ? new Refusal('absent', 'Directories are not listed: a path here does not end in a slash.')
    : path;
}

export function unsafePath(why: string): Refusal {
  return new Refusal('unsafe-path', `${why}.`);
}
