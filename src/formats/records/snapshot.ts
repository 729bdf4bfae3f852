import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafeSegment } from './safe-path.ts';

/**
 * A channel's snapshot: which release a channel points at for each architecture, for a short time. Lines as in the
 * manifest; from `arch` on they come again for every further architecture, in the order of their names:
 *
 *     bootseal-snapshot 1
 *     channel stable
 *     counter 7
 *     issued 2026-11-01T00:00:00Z
 *     expires 2026-11-08T00:00:00Z
 *     arch x86_64
 *     release arch/2026.11.01
 *     serial 2026110100
 *     manifest <sha256>
 *     best-before 2027-01-30T00:00:00Z
 *     rollback-from arch/2026.11.02
 *
 * One of format 2 has a line more behind `expires`, `scripts <sha256>`: the batch of scripts that machines get by name.
 * A snapshot without such is of format 1, so that whoever knows no batches goes on reading those.
 */
export interface Snapshot {
  readonly channel: string;
  /** Grows with every snapshot of the channel, renewals and rollbacks included. */
  readonly counter: number;
  /** Milliseconds since 1970, whole seconds, as are the other times. */
  readonly issued: number;
  readonly expires: number;
  /** SHA-256 of its batch of scripts, lower-case hex; undefined: every machine boots the releases' own. */
  readonly scripts?: string | undefined;
  /** At least one, one for each architecture, in the order of these. */
  readonly releases: readonly ChannelRelease[];
}

/** What a channel says of one architecture. */
export interface ChannelRelease {
  /** That of the release's manifest. */
  readonly arch: string;
  readonly release: string;
  readonly serial: number;
  /** SHA-256 of the release's manifest, lower-case hex. */
  readonly manifest: string;
  readonly bestBefore: number;
  /** The newer release that an operator turned away from; undefined: this is no rollback. */
  readonly rollbackFrom: string | undefined;
}

/** Bytes. Nobody has more than a handful of architectures. */
export const MAX_SNAPSHOT = 8192;

const MAGIC = 'bootseal-snapshot 1';
const MAGIC_SCRIPTS = 'bootseal-snapshot 2';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const lines = [
    snapshot.scripts === undefined ? MAGIC : MAGIC_SCRIPTS,
    `channel ${snapshot.channel}`,
    `counter ${snapshot.counter}`,
    `issued ${isoSeconds(snapshot.issued)}`,
    `expires ${isoSeconds(snapshot.expires)}`,
    ...(snapshot.scripts === undefined ? [] : [`scripts ${snapshot.scripts}`]),
    ...snapshot.releases.flatMap((one) => [
      `arch ${one.arch}`,
      `release ${one.release}`,
      `serial ${one.serial}`,
      `manifest ${one.manifest}`,
      `best-before ${isoSeconds(one.bestBefore)}`,
      ...(one.rollbackFrom === undefined ? [] : [`rollback-from ${one.rollbackFrom}`]),
    ]),
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
  const magic = lines.next();
  if (magic !== MAGIC && magic !== MAGIC_SCRIPTS) throw lines.fail(`the first line is not "${MAGIC}"`);
  const channel = lines.one('channel');
  if (!isSafeSegment(channel)) throw lines.fail('channel');
  const counter = lines.count(lines.one('counter'), 'counter');
  const issued = lines.time('issued');
  const expires = lines.time('expires');
  if (expires <= issued) throw lines.fail('expires is not after issued');
  if (lines.has('release')) {
    throw lines.fail('it is of an earlier Bootseal, which knew no architectures; publish to a new state');
  }
  const scripts = magic === MAGIC_SCRIPTS ? lines.one('scripts') : undefined;
  if (scripts !== undefined && !/^[0-9a-f]{64}$/.test(scripts)) throw lines.fail('scripts is no SHA-256');
  const releases: ChannelRelease[] = [];
  do releases.push(readRelease(lines, releases.at(-1)?.arch));
  while (lines.has('arch'));
  lines.end();
  return { channel, counter, issued, expires, ...(scripts === undefined ? {} : { scripts }), releases };
}

function readRelease(lines: LineReader, before: string | undefined): ChannelRelease {
  const arch = lines.one('arch');
  if (!isSafeSegment(arch)) throw lines.fail('arch');
  // Two orders would be two spellings.
  if (before !== undefined && arch <= before) throw lines.fail(`arch ${arch} twice or out of order`);
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('release is not NAME/VERSION');
  const serial = lines.count(lines.one('serial'), 'serial');
  const manifest = lines.one('manifest');
  if (!/^[0-9a-f]{64}$/.test(manifest)) throw lines.fail('manifest is no SHA-256');
  const bestBefore = lines.time('best-before');
  const [rollbackFrom] = lines.optional('rollback-from', 1) ?? [];
  if (rollbackFrom !== undefined && !isReleaseId(rollbackFrom)) throw lines.fail('rollback-from');
  return { arch, release, serial, manifest, bestBefore, rollbackFrom };
}

/** The releases of a channel with those in the place of what it has of their architectures. */
export function withReleases(
  standing: readonly ChannelRelease[],
  moved: readonly ChannelRelease[],
): readonly ChannelRelease[] {
  const stays = standing.filter(({ arch }) => !moved.some((one) => one.arch === arch));
  return [...stays, ...moved].sort((a, b) => (a.arch < b.arch ? -1 : 1));
}

/** What a channel names for an architecture. */
export function releaseFor({ releases }: Snapshot, arch: string): ChannelRelease | undefined {
  return releases.find((one) => one.arch === arch);
}

/** What stands for the whole channel where nobody says which machine asks: x86_64, else the first. */
export function defaultRelease({ releases }: Snapshot): ChannelRelease {
  const one = releases.find(({ arch }) => arch === 'x86_64') ?? releases[0];
  if (!one) throw new RangeError('a snapshot of no release');
  return one;
}

/** Whether a channel names this release for any architecture. */
export function namesRelease({ releases }: Snapshot, release: string): boolean {
  return releases.some((one) => one.release === release);
}
