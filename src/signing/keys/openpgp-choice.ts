import { Refusal } from '../../errors/refusal.ts';
import type { OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { decodeKeyring } from '../../trust/anchors.ts';
import { demandUsable } from '../../trust/openpgp-check.ts';
import { defaultPolicy, demandStrong } from '../../trust/policy.ts';
import type { OpenpgpSecret, OpenpgpSecretPart } from './openpgp-keys.ts';

/**
 * Which key of an OpenPGP certificate signs: one that verification takes, by verification's own rules. Often the
 * primary key only certifies, and lies in a safe while a subkey signs.
 */

/** A keyring and where it is from, for refusals. */
export interface Keyring {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * The RSA key that may sign, since GRUB needs one; of several the one made last.
 *
 * @param now milliseconds since 1970; undefined: whether it is in its time is not asked.
 * @throws Refusal with the reason where none may.
 */
export function choosePublic(keyring: Keyring, now: number | undefined): OpenpgpKey {
  return newestUsable(keyring, () => true, now);
}

/**
 * The same among the keys whose secret halves are at hand.
 *
 * @param path of the secret keys, for refusals.
 */
export function chooseSecret(
  parts: readonly OpenpgpSecretPart[],
  path: string,
  keyring: Keyring,
  now: number | undefined,
): OpenpgpSecret {
  const atHand = parts.filter(({ privateKey }) => privateKey !== undefined);
  if (atHand.length === 0) throw withoutNumbers(path);
  const chosen = newestUsable(
    keyring,
    ({ fingerprint }) => atHand.some(({ key }) => key.fingerprint === fingerprint),
    now,
    `None of the keys in ${path} is in ${keyring.path}, so nobody would take what they sign.`,
  );
  return withNumbers(atHand, path, chosen.fingerprint);
}

/**
 * That key of a keyring, or undefined where the keyring has not heard of it.
 *
 * @throws Refusal with the reason where it may not sign.
 */
export function findPublic(
  keyring: Keyring,
  fingerprint: string,
  now: number | undefined,
): OpenpgpKey | undefined {
  const isHere = decodeKeyring(keyring.path, keyring.bytes).some(({ keys }) =>
    keys.some(({ key }) => key.fingerprint === fingerprint),
  );
  return isHere ? newestUsable(keyring, (key) => key.fingerprint === fingerprint, now) : undefined;
}

/** The secret half of one key. Throws a `Refusal` where it is not at hand as it stands. */
export function withNumbers(
  parts: readonly OpenpgpSecretPart[],
  path: string,
  fingerprint: string,
): OpenpgpSecret {
  const part = parts.find(({ key }) => key.fingerprint === fingerprint);
  if (part?.privateKey) return { key: part.key, privateKey: part.privateKey };
  throw withoutNumbers(path);
}

function withoutNumbers(path: string): Refusal {
  return new Refusal(
    'unsafe-keys',
    `${path} holds no secret numbers of the key that signs: they are on a card or another computer.`,
    { path },
  );
}

function newestUsable(
  { path, bytes }: Keyring,
  isWanted: (key: OpenpgpKey) => boolean,
  now: number | undefined,
  unknown = `${path} holds no RSA key, and GRUB needs one.`,
): OpenpgpKey {
  const found = decodeKeyring(path, bytes)
    .flatMap(({ primary, keys }) => keys.map((signing) => ({ ...signing, primary })))
    .filter(({ key }) => key.type === 'rsa' && isWanted(key))
    .sort((a, b) => b.key.created - a.key.created);
  let reason: Refusal | undefined;
  for (const { key } of found) {
    try {
      // A certificate may be there twice, and one copy know of a revocation that the other has not heard of.
      for (const copy of found.filter((other) => other.key.fingerprint === key.fingerprint)) {
        demandUsable(`${path} holds the key ${key.fingerprint.slice(-16)}`, copy, now);
        if (now === undefined) continue;
        // The key that vouches for it counts, too.
        for (const strength of new Set([key, copy.primary])) {
          demandStrong(
            defaultPolicy(now),
            `A seal by the key ${key.fingerprint.slice(-16)}`,
            'sha512',
            strength,
          );
        }
      }
      return key;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // That one has ended tells more than that another only certifies.
      if (!reason || reason.code === 'wrong-purpose') reason = error;
    }
  }
  throw reason ?? new Refusal('wrong-purpose', unknown, { path });
}
