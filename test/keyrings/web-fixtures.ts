import assert from 'node:assert/strict';
import { keyHashInput } from '../../src/formats/openpgp/openpgp-key.ts';
import { splitTransferableKeys } from '../../src/formats/openpgp/openpgp-transferable.ts';
import type { TrustEntry, TrustLevel } from '../../src/formats/openpgp/trust-list.ts';
import type { KeyringSource } from '../../src/keyrings/keyring-sources.ts';
import { type Curation, curate } from '../../src/keyrings/web-of-trust.ts';
import { type DropReason, type KeyringPolicyName, keyringPolicy } from '../../src/trust/keyring-rules.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  newTestKey,
  publicKeyPacket,
  type SignatureWish,
  signTest,
  subpacket,
  type TestKey,
  u32,
  userId,
} from '../fixtures/openpgp.ts';

/** Certificates that vouch for one another, and what becomes of them. */

export const DAY = 86_400_000;
/** Long enough ago for SHA-1 to have been good. */
export const BORN = Date.UTC(2010, 0);

/** Three trusted keys and one that wants to be vouched for. */
export const MAINS = [newTestKey(BORN), newTestKey(BORN), newTestKey(BORN)] as const;
export const SUBJECT = newTestKey(BORN);
export const NAME = 'Test <test@example.org>';
/** What any certificate of these tests says of itself, if nothing else is asked for. */
export const SELF: SignatureWish = { created: BORN };

function userIdInput(target: TestKey, name: string): Uint8Array {
  const text = Buffer.from(name);
  return Buffer.concat([keyHashInput(target.body), Uint8Array.of(0xb4), u32(text.length), text]);
}

/** A signature by `by` on a user id of `target`. */
export function certify(
  by: TestKey,
  wish: SignatureWish & { readonly name?: string } = {},
  target: TestKey = SUBJECT,
): Buffer {
  const { name = NAME, ...rest } = wish;
  return signTest(by, userIdInput(target, name), { type: 0x10, created: BORN + DAY, ...rest });
}

/** A revocation of the key itself; no reason where none is given. */
export function revocation(key: TestKey, reason: number | undefined, created: number): Buffer {
  const hashed = reason === undefined ? [] : [subpacket(29, Uint8Array.of(reason))];
  return signTest(key, keyHashInput(key.body), { type: 0x20, created, hashed });
}

/** A key packet, what stands directly behind it, and user ids, subkeys and signatures. */
export function certificate(key: TestKey, ...rest: readonly Uint8Array[]): Buffer {
  return Buffer.concat([publicKeyPacket(key), ...rest]);
}

export function main(key: TestKey, ...rest: readonly Uint8Array[]): Buffer {
  return certificate(key, ...rest, userId(key, SELF, 'Main <main@example.org>'));
}

export const THREE_MAINS = MAINS.map((key) => main(key));

export function trusts(keys: readonly TestKey[], level: TrustLevel = 4): TrustEntry[] {
  return keys.map(({ key: { fingerprint } }) => ({ fingerprint, level }));
}

export function source(
  certificates: readonly Uint8Array[],
  trusted: readonly TrustEntry[] | 'no list' = trusts(MAINS),
  revoked: readonly string[] = [],
): KeyringSource {
  const split = splitTransferableKeys(Buffer.concat(certificates), 1_000_000);
  return {
    name: 'test.gpg',
    certificates: split,
    trusted: trusted === 'no list' ? undefined : trusted,
    revoked,
  };
}

export interface Judged {
  readonly at?: number;
  readonly policy?: KeyringPolicyName;
  readonly marginals?: number;
}

export function curated(sources: readonly KeyringSource[], judged: Judged = {}): Curation {
  const { at = NOW, policy = 'default', marginals = 3 } = judged;
  return curate(sources, { at, policy: keyringPolicy(policy, at), marginals });
}

/** What became of one key: how it is kept, or why it was dropped. */
export function verdictOn({ key }: TestKey, { kept, dropped }: Curation): string {
  const found = [
    ...kept.filter(({ fingerprint }) => fingerprint === key.fingerprint).map(({ basis }) => basis),
    ...dropped
      .filter(({ fingerprint }) => fingerprint === key.fingerprint)
      .map(({ reason }): DropReason => reason),
  ];
  assert.equal(found.length, 1);
  return found[0] ?? '';
}
