/**
 * Names that mean the same to a file system, a URL, a shell and a boot script: no separator games, no
 * escapes, no leading dash that a command would read as an option.
 */

const SEGMENT = /^[A-Za-z0-9._+@:,=~][A-Za-z0-9._+@:,=~-]*$/;
const MAX_PATH = 1024;

/** True for one path segment: 1 to 255 bytes of `A-Za-z0-9._+@:,=~-`, not `.` or `..`, no leading dash. */
export function isSafeSegment(segment: string): boolean {
  return segment.length <= 255 && segment !== '.' && segment !== '..' && SEGMENT.test(segment);
}

/** True for a relative path of safe segments joined by `/`, at most 1024 bytes. */
export function isSafePath(path: string): boolean {
  return path.length <= MAX_PATH && path.split('/').every(isSafeSegment);
}

/** True for the name of a channel: 1 to 64 small letters, digits, dots, dashes and underscores, a letter or digit first. */
export function isChannelName(name: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(name) && !name.includes('..');
}

/** True for `NAME/VERSION`, two safe segments of at most 64 bytes each that start with a letter or digit. */
export function isReleaseId(id: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\/[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/.test(id) && isSafePath(id);
}
