import { Malformed } from '../../errors/malformed.ts';
import { LineReader } from './lines.ts';
import { isReleaseId, isSafeSegment } from './safe-path.ts';
import { type BatchScript, decodeScriptBatch, encodeScriptBatch } from './script-batch.ts';

/**
 * What must be signed so that machines get their scripts: the index of a request about a channel. It holds facts; whoever
 * signs compiles the scripts from them, and signs what came out of that.
 *
 *     bootseal-scripts-request 1
 *     channels stable testing
 *     manifest <sha256> arch/2026.11.01
 *     kept <sha256> arch/2026.10.01
 *     bootseal-batch 1
 *     channel stable
 *     since 2026-11-01T00:00:00Z
 *     machines <sha256>
 *     script <key> x86_64 ipxe <sha256> arch/2026.11.01
 */
export interface ScriptsRequest {
  readonly channel: string;
  /** Every channel of the state, for menus. */
  readonly channels: readonly string[];
  /** What the channel names. */
  readonly manifests: readonly RequestedManifest[];
  /** What machines are kept at beside that. */
  readonly kept: readonly RequestedManifest[];
  /** Of the batch that it asks for. */
  readonly since: number;
  /** SHA-256 of the rules, lower-case hex. */
  readonly rules: string;
  readonly scripts: readonly BatchScript[];
}

export interface RequestedManifest {
  /** Lower-case hex. */
  readonly sha256: string;
  readonly release: string;
}

const FORMAT = 'request for scripts';
const MAGIC = 'bootseal-scripts-request 1';

export function isScriptsRequest(index: Uint8Array): boolean {
  return Buffer.from(index.subarray(0, MAGIC.length + 1)).toString('latin1') === `${MAGIC}\n`;
}

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeScriptsRequest(request: ScriptsRequest): Uint8Array {
  const { channel, channels, manifests, kept, since, rules, scripts } = request;
  const lines = [
    MAGIC,
    `channels ${channels.join(' ')}`,
    ...manifests.map(({ sha256, release }) => `manifest ${sha256} ${release}`),
    ...kept.map(({ sha256, release }) => `kept ${sha256} ${release}`),
  ];
  const head = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  const bytes = Buffer.concat([head, encodeScriptBatch({ channel, since, rules, scripts })]);
  decodeScriptsRequest(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeScriptsRequest(bytes: Uint8Array): ScriptsRequest {
  const text = Buffer.from(bytes).toString('latin1');
  const at = text.indexOf('\nbootseal-batch ');
  if (at < 0 || !/^[\n -~]*$/.test(text.slice(0, at))) throw new Malformed(FORMAT, 'no batch in it');
  const lines = new LineReader(FORMAT, text.slice(0, at).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const channels = lines.words('channels');
  if (channels.length === 0 || !channels.every(isSafeSegment)) throw lines.fail('channels');
  const manifests = readManifests(lines, 'manifest');
  const kept = readManifests(lines, 'kept');
  lines.end();
  if (manifests.length === 0) throw new Malformed(FORMAT, 'of a channel that names nothing');
  const { channel, since, rules, scripts } = decodeScriptBatch(bytes.subarray(at + 1));
  return { channel, channels, manifests, kept, since, rules, scripts };
}

function readManifests(lines: LineReader, key: string): RequestedManifest[] {
  const found: RequestedManifest[] = [];
  while (lines.has(key)) {
    const [sha256 = '', release = '', ...more] = lines.words(key);
    if (!/^[0-9a-f]{64}$/.test(sha256) || !isReleaseId(release) || more.length > 0)
      throw lines.fail(`${key} takes a SHA-256 and a release`);
    found.push({ sha256, release });
  }
  return found;
}
