import { createHash } from 'node:crypto';
import { keyHashInput } from '../formats/openpgp/openpgp-key.ts';
import { PACKET, type Packet } from '../formats/openpgp/openpgp-packet.ts';
import type { Part, TransferableKey } from '../formats/openpgp/openpgp-transferable.ts';
import type { TrustEntry } from '../formats/openpgp/trust-list.ts';
import type { Dropped, DropReason } from '../trust/keyring-rules.ts';

/** Certificates from one place, and the lists that stand beside them. */
export interface KeyringSource {
  /** For reports. */
  readonly name: string;
  readonly certificates: readonly TransferableKey[];
  /** Undefined: there is no such list, and each certificate stands for itself. */
  readonly trusted: readonly TrustEntry[] | undefined;
  /** Fingerprints, 40 lower-case hex digits. */
  readonly revoked: readonly string[];
}

/** All that the sources say of one key. */
export interface Collected {
  readonly fingerprint: string;
  readonly userId: string | undefined;
  /** The first source that holds it. */
  readonly source: string;
  /** A source without a list of trusted keys holds it. */
  readonly unlisted: boolean;
  readonly parts: TransferableKey;
}

export interface Collection {
  readonly certificates: ReadonlyMap<string, Collected>;
  readonly unreadable: readonly Dropped[];
}

/**
 * Brings together what the sources hold of each key: one may know of a revocation that another has not heard
 * of. The work grows with the bytes, however often a key is repeated.
 */
export function collectCertificates(sources: readonly KeyringSource[]): Collection {
  const groups = new Map<string, { source: string; unlisted: boolean; all: TransferableKey[] }>();
  const unreadable: Dropped[] = [];
  for (const { name, certificates, trusted } of sources) {
    for (const parts of certificates) {
      const { body } = parts[0].packet;
      const flaw = flawOf(body);
      if (flaw) {
        unreadable.push({ fingerprint: undefined, userId: firstUserId(parts), source: name, ...flaw });
        continue;
      }
      const fingerprint = createHash('sha1').update(keyHashInput(body)).digest('hex');
      const group = groups.get(fingerprint);
      if (group) {
        group.all.push(parts);
        group.unlisted ||= trusted === undefined;
      } else groups.set(fingerprint, { source: name, unlisted: trusted === undefined, all: [parts] });
    }
  }
  const certificates = new Map<string, Collected>();
  for (const [fingerprint, { source, unlisted, all }] of groups) {
    const parts = merge(all);
    certificates.set(fingerprint, { fingerprint, userId: firstUserId(parts), source, unlisted, parts });
  }
  return { certificates, unreadable };
}

/** What keeps a key from having a fingerprint here. */
function flawOf(body: Uint8Array): { reason: DropReason; detail: string } | undefined {
  const [version] = body;
  if (version === undefined) return { reason: 'malformed', detail: 'Its key packet is empty.' };
  if (version !== 4) return { reason: 'unsupported-version', detail: `A key of version ${version}, not 4.` };
  if (body.length > 0xffff) return { reason: 'too-large', detail: `A key of ${body.length} bytes.` };
  return undefined;
}

/** Each component once, each signature on it once, in the order of first appearance. */
function merge(all: readonly TransferableKey[]): TransferableKey {
  const [first, ...more] = all as readonly [TransferableKey, ...TransferableKey[]];
  if (more.length === 0) return first;
  const components = new Map<string, { packet: Packet; signatures: Map<string, Packet> }>();
  for (const { packet, signatures } of all.flat()) {
    const name = identity(packet);
    const component = components.get(name) ?? { packet, signatures: new Map<string, Packet>() };
    components.set(name, component);
    for (const signature of signatures) component.signatures.set(identity(signature), signature);
  }
  const [head, ...rest] = [...components.values()].map(
    ({ packet, signatures }): Part => ({ packet, signatures: [...signatures.values()] }),
  );
  return head ? [head, ...rest] : first;
}

function identity({ tag, body }: Packet): string {
  return `${tag} ${createHash('sha256').update(body).digest('base64')}`;
}

function firstUserId(parts: TransferableKey): string | undefined {
  const found = parts.find(({ packet }) => packet.tag === PACKET.userId);
  return found && printable(found.packet.body);
}

/** A user id as it may be shown: whoever made it may have wanted to steer the reader's terminal. */
export function printable(userId: Uint8Array): string {
  const text = Buffer.from(userId.subarray(0, 2048)).toString('utf8');
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd');
}
