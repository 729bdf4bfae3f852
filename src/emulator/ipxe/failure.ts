import { Refusal } from '../../errors/refusal.ts';

/**
 * A command's failure: iPXE's return code, as far as a script can tell. Numbers and wordings are those of
 * iPXE's `src/include/errno.h` and of the file that raises them; the lower three bytes of an iPXE error
 * number say which source file raised it, and are zero here.
 */
export interface Failure {
  /** What `${errno}` holds afterwards. `exit 3` is the number 3. */
  readonly errno: number;
  /** What iPXE prints, without the link to its error page. */
  readonly text: string;
  /** Why, with facts, where this side said no or was told no. */
  readonly refusal?: Refusal | undefined;
}

/** A command's result: nothing when it succeeded. */
export type Status = Failure | undefined;

function failure(code: number, text: string): Failure {
  return { errno: code * 0x1000000, text };
}

export const EACCES = failure(0x02, 'Permission denied');
export const EACCES_UNTRUSTED = failure(0x02, 'Untrusted image');
export const EACCES_PERMANENT = failure(0x02, 'Trust requirement is permanent');
export const EADDRNOTAVAIL = failure(0x04, 'No configuration methods succeeded');
export const ECANCELED = failure(0x0b, 'Operation canceled');
export const ECANCELED_NO_OP = failure(0x0b, 'Nothing to do');
export const EINVAL = failure(0x1c, 'Invalid argument');
export const EINVAL_INTEGER = failure(0x1c, 'Invalid integer value');
export const EINVAL_UNKNOWN_OPTION = failure(0x1c, 'Unrecognised option');
export const EINVAL_MISSING_ARGUMENT = failure(0x1c, 'Missing argument');
export const EIO = failure(0x1d, 'Input/output error');
export const ENETUNREACH = failure(0x28, 'Network unreachable');
export const ENODEV = failure(0x2c, 'No such device');
export const ENOENT = failure(0x2d, 'No such file or directory');
export const ENOENT_BOOT = failure(0x2d, 'Nothing to boot');
export const ENOENT_NOT_FOUND = failure(0x2d, 'Not found');
export const ENOEXEC = failure(0x2e, 'Exec format error');
export const ENOMEM = failure(0x31, 'Not enough space');
export const ENOTSUP = failure(0x3c, 'Operation not supported');
export const ENOTTY = failure(0x3d, 'Inappropriate I/O control operation');
export const ERANGE = failure(0x46, 'Result too large');
export const ETIMEDOUT = failure(0x4c, 'Connection timed out');

/** What iPXE says of an image that is no program and no script: empty, or cut off before it says what it is. */
export function notExecutable(image: string): Failure {
  return {
    ...ENOEXEC,
    refusal: new Refusal('malformed', `${image} is nothing that iPXE can execute.`, { image }),
  };
}

/** What iPXE says when a download ends with this refusal. */
export function downloadFailure(refusal: Refusal): Failure {
  const base = { absent: ENOENT_NOT_FOUND, unreachable: ETIMEDOUT, 'too-large': ENOMEM }[
    refusal.code as string
  ];
  return { ...(base ?? EIO), refusal };
}

/** What iPXE says when a signature is refused for this reason. Sources: `src/crypto/cms.c`, `x509.c`, `rsa.c`. */
const VERIFY_TEXTS: Readonly<Record<string, string>> = {
  'bad-signature': 'RSA signature incorrect',
  'untrusted-signer': 'Untrusted root certificate',
  'mixed-releases': 'Incorrect certificate name',
  'wrong-purpose': 'Not a code-signing certificate',
  expired: 'Expired (or not yet valid)',
  'not-yet-valid': 'Expired (or not yet valid)',
  revoked: 'Certificate status not good',
  'weak-algorithm': 'Unsupported algorithm',
  absent: 'No signatures present',
};

/** `facts.ipxe`, where the verifier gives it, is iPXE's own wording and wins. */
export function verifyFailure(refusal: Refusal): Failure {
  const said = refusal.facts.ipxe;
  const text = typeof said === 'string' ? said : VERIFY_TEXTS[refusal.code];
  if (refusal.code === 'malformed') return { ...EINVAL, ...(text === undefined ? {} : { text }), refusal };
  return { ...EACCES, ...(text === undefined ? {} : { text }), refusal };
}
