import { Malformed } from '../../errors/malformed.ts';
import { LineReader } from './lines.ts';
import { isChannelName, isReleaseId, isSafePath } from './safe-path.ts';
import { SEAL } from './seal-names.ts';

/**
 * The first member of a bundle: what a channel or a release is carried in where no wire leads. It says what the bundle is
 * of, which content each record of a release is, and the size and SHA-256 of every member after it, in their order, so
 * that whoever reads knows of each what will come before it comes. Nothing vouches for an index but that what it names
 * is verified:
 *
 *     bootseal-bundle 1
 *     channel stable
 *     release arch/2026.11.01
 *     record <sha256> boot.ipxe
 *     record <sha256> boot.ipxe.sig
 *     member 512 <sha256> channel/snapshot
 *     member 1024 <sha256> objects/<sha256>
 *
 * `channel` is missing in a bundle of a release alone. Of each release, in the order of their names: its records, scripts and
 * seals by path; its payload is what its manifest lists. Members are, in this order and each sort in the order of its names:
 *
 *     channel/snapshot, channel/snapshot.cms.sig
 *     releases/NAME/VERSION/log-proof, releases/NAME/VERSION/provenance.json
 *     scripts/<sha256>.batch, .machines, .ipxe, .cfg, and the seals of the last two
 *     records/<sha256>    what is small: read whole and judged before anything large is
 *     objects/<sha256>    what the manifests list, and images of Secure Boot
 */
export interface BundleIndex {
  /** Undefined: of a release alone. */
  readonly channel: string | undefined;
  /** At least one, in the order of their names; of a bundle without a channel exactly one. */
  readonly releases: readonly BundleRelease[];
  /** In the order of the archive. */
  readonly members: readonly BundleMember[];
}

export interface BundleRelease {
  /** `NAME/VERSION` */
  readonly release: string;
  /** Lower-case hex SHA-256 by path in the release, in the order of the paths. */
  readonly records: ReadonlyMap<string, string>;
}

export interface BundleMember {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** The name of the index in the archive. */
export const BUNDLE_INDEX = 'bootseal-bundle';
/** Bytes: some 100,000 members. */
export const MAX_BUNDLE_INDEX = 16 * 1024 * 1024;
export const MAX_MEMBERS = 50_000;
/** Bytes of a member that is read whole. */
export const MAX_SMALL_MEMBER = 32 * 1024 * 1024;
/** Bytes of all of those together. */
export const MAX_SMALL_MEMBERS = 128 * 1024 * 1024;
/** Bytes of any member. The manifest's own sizes are the limit that counts. */
const MAX_MEMBER = 2 ** 50;
/** A channel has a handful of architectures. */
const MAX_RELEASES = 32;

const FORMAT = 'bundle index';
const MAGIC = 'bootseal-bundle 1';
const SHA256 = /^[0-9a-f]{64}$/;

export const BUNDLE_SNAPSHOT = 'channel/snapshot';
export const bundleLogProof = (release: string) => `releases/${release}/log-proof`;
export const bundleProvenance = (release: string) => `releases/${release}/provenance.json`;
export const bundleRecord = (sha256: string) => `records/${sha256}`;
export const bundleObject = (sha256: string) => `objects/${sha256}`;

/** Whether a member is read whole, into memory. */
export function isSmallMember({ name }: BundleMember): boolean {
  return !name.startsWith('objects/');
}

/** The order of an archive. */
export function inBundleOrder(members: readonly BundleMember[]): BundleMember[] {
  return [...members].sort((a, b) => (orderOf(a.name) < orderOf(b.name) ? -1 : 1));
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeBundleIndex({ channel, releases, members }: BundleIndex): Uint8Array {
  const lines = [
    MAGIC,
    ...(channel === undefined ? [] : [`channel ${channel}`]),
    ...releases.flatMap(({ release, records }) => [
      `release ${release}`,
      ...[...records].map(([path, sha256]) => `record ${sha256} ${path}`),
    ]),
    ...members.map(({ name, size, sha256 }) => `member ${size} ${sha256} ${name}`),
  ];
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeBundleIndex(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeBundleIndex(bytes: Uint8Array): BundleIndex {
  if (bytes.length > MAX_BUNDLE_INDEX) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(FORMAT, 'not lines of ASCII');
  const lines = new LineReader(FORMAT, text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const [channel] = lines.optional('channel', 1) ?? [];
  if (channel !== undefined && !isChannelName(channel)) throw lines.fail('channel');
  const releases: BundleRelease[] = [];
  do releases.push(readRelease(lines, releases.at(-1)?.release));
  while (lines.has('release'));
  if (channel === undefined && releases.length > 1) throw lines.fail('several releases without a channel');
  if (releases.length > MAX_RELEASES) throw lines.fail(`more than ${MAX_RELEASES} releases`);
  const members: BundleMember[] = [];
  let small = 0;
  while (lines.has('member')) {
    const member = readMember(lines, members.at(-1)?.name, channel, releases);
    members.push(member);
    if (members.length > MAX_MEMBERS) throw lines.fail(`more than ${MAX_MEMBERS} members`);
    small += isSmallMember(member) ? member.size : 0;
    if (small > MAX_SMALL_MEMBERS) throw lines.fail('more records and scripts than anybody has');
  }
  lines.end();
  return { channel, releases, members };
}

function readRelease(lines: LineReader, before: string | undefined): BundleRelease {
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('release is not NAME/VERSION');
  if (before !== undefined && release <= before) throw lines.fail('a release twice or out of order');
  const records = new Map<string, string>();
  let last = '';
  while (lines.has('record')) {
    const [sha256 = '', path = ''] = lines.optional('record', 2) ?? [];
    if (!SHA256.test(sha256) || !isSafePath(path)) throw lines.fail('record takes a digest and a path');
    if (path <= last) throw lines.fail('a path twice or out of order');
    last = path;
    records.set(path, sha256);
  }
  return { release, records };
}

function readMember(
  lines: LineReader,
  before: string | undefined,
  channel: string | undefined,
  releases: readonly BundleRelease[],
): BundleMember {
  const [octets = '', sha256 = '', name = ''] = lines.optional('member', 3) ?? [];
  const size = lines.count(octets, 'size');
  if (!SHA256.test(sha256)) throw lines.fail('no SHA-256');
  if (!isMemberName(name, sha256, channel, releases)) throw lines.fail('no member of a bundle');
  if (before !== undefined && orderOf(name) <= orderOf(before))
    throw lines.fail('a member twice or out of order');
  const member = { name, size, sha256 };
  if (size > (isSmallMember(member) ? MAX_SMALL_MEMBER : MAX_MEMBER))
    throw lines.fail('larger than any member is');
  return member;
}

const SORTS = ['channel/', 'releases/', 'scripts/', 'records/', 'objects/'];

/** Sorts of members in their order, and each by its names. */
function orderOf(name: string): string {
  return `${SORTS.findIndex((sort) => name.startsWith(sort))} ${name}`;
}

/** A closed set: no name of a member is ever a path that somebody thought of. */
function isMemberName(
  name: string,
  sha256: string,
  channel: string | undefined,
  releases: readonly BundleRelease[],
): boolean {
  if (name === bundleRecord(sha256) || name === bundleObject(sha256)) return true;
  if (releases.some(({ release }) => name === bundleLogProof(release) || name === bundleProvenance(release)))
    return true;
  if (channel === undefined) return false;
  if (name === BUNDLE_SNAPSHOT || name === BUNDLE_SNAPSHOT + SEAL.cms) return true;
  const [, content, sealed] =
    /^scripts\/([0-9a-f]{64})\.(?:batch|machines|(?:ipxe|cfg)(\.sig)?)$/.exec(name) ?? [];
  return content !== undefined && (sealed !== undefined || content === sha256);
}
