import type { KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { unreadable } from '../../errors/unreadable.ts';
import { UsageError } from '../../errors/usage.ts';
import { readInto, reading } from '../../files/reading.ts';
import { decodePkcs11Uri, encodePkcs11Path, type Pkcs11Uri } from '../../formats/asn1/pkcs11-uri.ts';
import type { DigestSigner } from './digest-signer.ts';
import { runProgram } from './run-program.ts';
import { demandForm, demandHash, demandKeyKind, MAX_SIGNATURE } from './signature-form.ts';
import { DEFAULT_TIME_LIMIT, type TimeLimit } from './time-limit.ts';

export interface Pkcs11SignerOptions {
  /** `pkcs11:token=site;object=codesign` */
  readonly uri: string;
  /** A file of mode 0600 with the PIN on its only line. */
  readonly pinFile: string;
  /** The token's library; where it is left out, what OpenSSL's engine was built with: on Debian, p11-kit. */
  readonly module?: string;
  readonly timeLimit?: TimeLimit;
}

/** libp11 asks for so many bytes (`eng_back.c`, `ctx_get_pin`). */
const PIN_OCTETS = { least: 4, most: 32 };
/** What libp11 understands; it refuses the others. */
const ENGINE_KNOWS = new Set(['token', 'manufacturer', 'serial', 'model', 'object', 'id', 'type']);

/**
 * A signer over a key in a PKCS#11 token, through OpenSSL's engine (libp11): one `openssl pkeyutl` a
 * signature. The PIN goes through a pipe of its own: `pin-source` would leave the reading to libp11, for
 * which the newline at the end of the file belongs to the PIN, and each wrong PIN counts against the token.
 *
 * @throws Refusal `malformed` for a URI that does not say which key, or says a PIN; `unsafe-keys` for a kind of
 *   key that cannot be used so.
 */
export function pkcs11Signer(publicKey: KeyObject, options: Pkcs11SignerOptions): DigestSigner {
  const { pinFile, module, timeLimit = DEFAULT_TIME_LIMIT } = options;
  const name = readUri(options.uri);
  demandKeyKind(name, publicKey);
  const openssl = ['pkeyutl', '-engine', 'pkcs11', '-keyform', 'engine', '-inkey', name];
  const env = module === undefined ? {} : { PKCS11_MODULE_PATH: module };
  return {
    publicKey,
    name,
    async sign(hash, digest) {
      const known = demandHash(name, hash);
      const secret = await readPin(pinFile);
      try {
        const answer = await runProgram({
          name,
          argv: ['openssl', ...openssl, '-passin', 'fd:3', '-sign', '-pkeyopt', `digest:${known}`],
          env,
          input: digest,
          secret,
          limit: MAX_SIGNATURE,
          timeLimit,
        });
        demandForm(name, publicKey, answer);
        return answer;
      } finally {
        secret.fill(0);
      }
    },
  };
}

/** The URI as it is shown and handed on. */
function readUri(text: string): string {
  const refuse = (fact: string) => new UsageError(`The PKCS#11 URI of a signer ${fact}.`);
  let uri: Pkcs11Uri;
  try {
    uri = decodePkcs11Uri(text);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw refuse(`is malformed: ${error.message}`);
  }
  const name = encodePkcs11Path(uri.path);
  const [extra] = uri.query.keys();
  if (extra === 'pin-value' || extra === 'pin-source') {
    throw refuse(`(${name}) says ${extra}; put the PIN into a file of mode 0600 and name it with pin_file`);
  }
  if (extra !== undefined) throw refuse(`(${name}) says ${extra}; name the token's library with module`);
  const unknown = [...uri.path.keys()].find((key) => !ENGINE_KNOWS.has(key));
  if (unknown !== undefined) {
    throw refuse(
      `(${name}) says ${unknown}, by which OpenSSL's engine finds nothing; use token, serial, object, id`,
    );
  }
  // A PIN must not be tried on whatever token is plugged in.
  if (!uri.path.has('token') && !uri.path.has('serial')) {
    throw refuse(`(${name}) does not say which token: add token or serial`);
  }
  if (!uri.path.has('object') && !uri.path.has('id')) {
    throw refuse(`(${name}) does not say which key: add object or id`);
  }
  const type = uri.path.get('type');
  if (type !== undefined && Buffer.from(type).toString() !== 'private') {
    throw refuse(`(${name}) does not name a private key: leave type out`);
  }
  return name;
}

/** The PIN and a newline. It is in none of the refusals. */
async function readPin(path: string): Promise<Buffer> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP')
      throw new Refusal('unsafe-keys', `The PIN file ${path} is a symbolic link.`, { path });
    throw unreadable(path, error, `The PIN file ${path}`);
  }
  return reading(`The PIN file ${path}`, file, async () => {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Refusal('unsafe-keys', `The PIN file ${path} is no file.`, { path });
    if ((stat.mode & 0o077) !== 0) {
      throw new Refusal(
        'unsafe-keys',
        `Others on this machine may use the PIN file ${path}; run "chmod 600 ${path}", and change the PIN.`,
        { path },
      );
    }
    const room = Buffer.alloc(PIN_OCTETS.most + 3);
    const bytesRead = await readInto(file, room, 0);
    const ending = /\r?\n$/.exec(room.toString('latin1', 0, bytesRead))?.[0].length ?? 0;
    const length = bytesRead - ending;
    const pin = room.subarray(0, length);
    if (length < PIN_OCTETS.least || length > PIN_OCTETS.most || pin.some((octet) => octet < 0x20)) {
      room.fill(0);
      throw new UsageError(
        `The PIN file ${path} does not hold one line with a PIN of ${PIN_OCTETS.least} to ${PIN_OCTETS.most} bytes.`,
      );
    }
    room[length] = 0x0a;
    return room.subarray(0, length + 1);
  });
}
