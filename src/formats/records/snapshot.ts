import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafeSegment } from './safe-path.ts';

/**
 * A channel's snapshot: which release a channel points at, for a short time. Lines as in the manifest:
 *
 *     bootseal-snapshot 1
 *     channel stable
 *     counter 7
 *     issued 2026-11-01T00:00:00Z
 *     expires 2026-11-08T00:00:00Z
 *     release arch/2026.11.01
 *     serial 2026110100
 *     manifest <sha256>
 *     best-before 2027-01-30T00:00:00Z
 *     rollback-from arch/2026.11.02
 */
export interface Snapshot {
  readonly channel: string;
  /** Grows with every snapshot of the channel, renewals and rollbacks included. */
  readonly counter: number;
  /** Milliseconds since 1970, whole seconds, as are the other times. */
  readonly issued: number;
  readonly expires: number;
  readonly release: string;
  readonly serial: number;
  /** SHA-256 of the release's manifest, lower-case hex. */
  readonly manifest: string;
  readonly bestBefore: number;
  /** The newer release that an operator turned away from; undefined: this is no rollback. */
  readonly rollbackFrom: string | undefined;
}

/** Bytes. */
export const MAX_SNAPSHOT = 4096;

const MAGIC = 'bootseal-snapshot 1';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const lines = [
    MAGIC,
    `channel ${snapshot.channel}`,
    `counter ${snapshot.counter}`,
    `issued ${isoSeconds(snapshot.issued)}`,
    `expires ${isoSeconds(snapshot.expires)}`,
    `release ${snapshot.release}`,
    `serial ${snapshot.serial}`,
    `manifest ${snapshot.manifest}`,
    `best-before ${isoSeconds(snapshot.bestBefore)}`,
    ...(snapshot.rollbackFrom === undefined ? [] : [`rollback-from ${snapshot.rollbackFrom}`]),
  ];
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeSnapshot(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  if (bytes.length > MAX_SNAPSHOT) throw new Malformed('snapshot', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed('snapshot', 'not lines of ASCII');
  const lines = new LineReader('snapshot', text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const channel = lines.one('channel');
  if (!isSafeSegment(channel)) throw lines.fail('channel');
  const counter = lines.count(lines.one('counter'), 'counter');
  const issued = lines.time('issued');
  const expires = lines.time('expires');
  if (expires <= issued) throw lines.fail('expires is not after issued');
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('release is not NAME/VERSION');
  const serial = lines.count(lines.one('serial'), 'serial');
  const manifest = lines.one('manifest');
  if (!/^[0-9a-f]{64}$/.test(manifest)) throw lines.fail('manifest is no SHA-256');
  const bestBefore = lines.time('best-before');
  const [rollbackFrom] = lines.optional('rollback-from', 1) ?? [];
  if (rollbackFrom !== undefined && !isReleaseId(rollbackFrom)) throw lines.fail('rollback-from');
  lines.end();
  return { channel, counter, issued, expires, release, serial, manifest, bestBefore, rollbackFrom };
}
