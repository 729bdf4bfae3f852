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

/**
 * Characters of a release's name and version, for a class of a regular expression. Addresses of a release's files are
 * made of them, so whatever reads such an address takes them all.
 */
export const RELEASE_CHARACTERS = 'A-Za-z0-9._+-';

const RELEASE_PART = `[A-Za-z0-9][${RELEASE_CHARACTERS}]{0,63}`;
const RELEASE_ID = new RegExp(`^${RELEASE_PART}/${RELEASE_PART}$`);

/** True for `NAME/VERSION`, two safe segments of at most 64 bytes each that start with a letter or digit. */
export function isReleaseId(id: string): boolean {
  return RELEASE_ID.test(id) && isSafePath(id);
}
