import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeSnapshot, type Snapshot } from '../formats/records/snapshot.ts';
import { decodeOr } from './check.ts';
import { day, type Policy } from './policy.ts';
import { verifySnapshotSeal } from './snapshot-seal.ts';

/** What a reader of a channel already knows of it. */
export interface KnownSnapshot {
  readonly counter: number;
  /** SHA-256 of its bytes, lower-case hex. */
  readonly sha256: string;
}

/**
 * A snapshot that the snapshot key signed for this channel, however old it is: steps 1 and 2 of `verifySnapshot`. Whoever
 * goes by it looks at its dates and its counter himself, as an auditor does who says how old it is.
 *
 * @throws Refusal `mixed-releases` and what a signature may be refused for.
 */
export async function readSignedSnapshot(
  channel: string,
  bytes: Uint8Array,
  seal: Uint8Array,
  signer: Certificate | readonly Certificate[],
  policy: Policy,
  now: number,
): Promise<Snapshot> {
  const what = `the snapshot of ${channel}`;
  const signers = 'raw' in signer ? [signer] : signer;
  // 1. By the snapshot key.
  await verifySnapshotSeal(what, bytes, seal, signers, policy, now);
  // 2. Of this channel: a snapshot of "testing" says nothing about "stable".
  const snapshot = decodeOr(what, () => decodeSnapshot(bytes));
  if (snapshot.channel === channel) return snapshot;
  throw new Refusal(
    'mixed-releases',
    `A snapshot of ${snapshot.channel} stands in the place of ${channel}.`,
    { channel: snapshot.channel },
  );
}

/**
 * Verifies a channel's snapshot. It is signed by exactly one key, which can sign nothing that boots; it is of
 * the channel that was asked for; it has not expired; and its counter has not gone back.
 *
 * @param signer the snapshot key's certificate; several while one key takes another's place.
 * @param known the last snapshot that this reader accepted; undefined: it has seen none, so an older one that
 *   has not expired cannot be told from the newest.
 * @throws Refusal `stale`, `rolled-back`, `mixed-releases` and what a signature may be refused for.
 */
export async function verifySnapshot(
  channel: string,
  bytes: Uint8Array,
  seal: Uint8Array,
  signer: Certificate | readonly Certificate[],
  policy: Policy,
  now: number,
  known?: KnownSnapshot,
): Promise<Snapshot> {
  // 1. and 2. By the snapshot key, of this channel.
  const snapshot = await readSignedSnapshot(channel, bytes, seal, signer, policy, now);
  // 3. Fresh.
  if (now > snapshot.expires) {
    throw new Refusal('stale', `The snapshot of ${channel} expired on ${day(snapshot.expires)}.`, {
      expires: day(snapshot.expires),
    });
  }
  // 4. Not older than what was seen, and one counter is of one snapshot: for every architecture it says the same.
  if (known && snapshot.counter < known.counter) {
    throw new Refusal(
      'rolled-back',
      `The snapshot of ${channel} has counter ${snapshot.counter}; ${known.counter} was seen before.`,
      { counter: snapshot.counter, known: known.counter },
    );
  }
  if (known && snapshot.counter === known.counter && sha256(bytes) !== known.sha256) {
    throw new Refusal('mixed-releases', `Two snapshots of ${channel} have counter ${snapshot.counter}.`, {
      counter: snapshot.counter,
    });
  }
  return snapshot;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
