import { createPrivateKey, type KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { readWhole } from '../../files/reading.ts';
import { openDer, smallInteger, TAG } from '../../formats/asn1/der.ts';
import { type KeyAccess, unlocked } from './passphrase.ts';

/** Files of private keys as people have them: PEM with whatever around it, or DER; in three forms, and under a passphrase. */

/** The forms that a key in DER may have: RFC 5208, RFC 8017 §A.1.2, RFC 5915 §3. */
const FORMS = ['pkcs8', 'pkcs1', 'sec1'] as const;

/**
 * Reads a private key.
 *
 * @throws Refusal `absent`, `malformed`; UsageError for a passphrase that nobody gives; IoError.
 */
export async function readPrivateKeyFile(path: string, { passphrase }: KeyAccess = {}): Promise<KeyObject> {
  const bytes = await readWhole(path);
  const held = lookAt(bytes);
  if (held === 'locked' || held === 'locked DER') {
    return unlocked(path, passphrase, async (text) => unlock(bytes, held, text));
  }
  const forms =
    held === 'DER' ? FORMS.map((type) => ({ key: bytes, format: 'der', type }) as const) : [bytes];
  for (const form of forms) {
    try {
      return createPrivateKey(form);
    } catch {
      // OpenSSL's own message may quote the input; a key must not end in a log.
    }
  }
  const hint =
    held === 'PKCS #12'
      ? `; it is a PKCS #12 file, out of which "openssl pkcs12 -nocerts -noenc -in ${path}" takes the key`
      : '';
  throw new Refusal(
    'malformed',
    `${path} is not a private key in PEM or DER (PKCS #8, PKCS #1, SEC 1)${hint}.`,
    { path },
  );
}

type Held = 'PEM' | 'DER' | 'locked' | 'locked DER' | 'PKCS #12';

function lookAt(bytes: Uint8Array): Held {
  try {
    // Version first in every form but that which a passphrase protects (RFC 5958 §3): that begins with an algorithm.
    const [first] = [openDer(bytes, TAG.sequence, 'private key').next()];
    if (first.tag === TAG.sequence) return 'locked DER';
    // RFC 7292 §4
    return first.tag === TAG.integer && smallInteger(first, 'version') === 3 ? 'PKCS #12' : 'DER';
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
  }
  // RFC 5958 §3, and OpenSSL's older form.
  const locked = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED\r?$/m;
  return locked.test(Buffer.from(bytes).toString('latin1')) ? 'locked' : 'PEM';
}

/** @returns undefined where the passphrase is not that of the key. */
function unlock(bytes: Buffer, held: Held, passphrase: string): KeyObject | undefined {
  try {
    return createPrivateKey(
      held === 'locked'
        ? { key: bytes, passphrase }
        : { key: bytes, format: 'der', type: 'pkcs8', passphrase },
    );
  } catch {
    // As above.
    return undefined;
  }
}
