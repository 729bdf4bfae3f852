import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafeSegment } from './safe-path.ts';

/** What an audit found out about a mirror. */
export const MIRROR_VERDICTS = ['verified', 'stale', 'drifted', 'slow', 'unreachable', 'unfinished'] as const;
export type MirrorVerdict = (typeof MIRROR_VERDICTS)[number];

/**
 * What the last audit of a channel's mirrors found: written by `bootseal mirror audit --out`, read by a server that sends
 * machines there. Lines as in the manifest:
 *
 *     bootseal-mirror-health 1
 *     channel stable
 *     audited 2026-11-01T00:00:00Z
 *     mirror verified https://mirror.example.org/netboot/
 *     has arch/2026.11.01 <sha256 of its manifest>
 *     mirror stale https://other.example.org/netboot/
 *
 * It is no record: nobody signs it, and nothing that it says makes anybody take a byte that does not verify.
 */
export interface MirrorHealth {
  readonly channel: string;
  /** Milliseconds since 1970, whole seconds. */
  readonly audited: number;
  /** Each address once. */
  readonly mirrors: readonly AuditedMirror[];
}

export interface AuditedMirror {
  /** Ends in a slash. */
  readonly url: string;
  readonly verdict: MirrorVerdict;
  /** Releases that were verified there; none but of a mirror that is verified. */
  readonly releases: readonly { readonly release: string; readonly manifest: string }[];
}

/** Bytes: a thousand mirrors with a handful of architectures. */
export const MAX_HEALTH = 1024 * 1024;

const FORMAT = 'mirror health';
const MAGIC = 'bootseal-mirror-health 1';

/** Writes the one canonical form. @throws Malformed for a value that has none. */
export function encodeMirrorHealth({ channel, audited, mirrors }: MirrorHealth): Uint8Array {
  const lines = [
    MAGIC,
    `channel ${channel}`,
    `audited ${isoSeconds(audited)}`,
    ...mirrors.flatMap(({ url, verdict, releases }) => [
      `mirror ${verdict} ${url}`,
      ...releases.map(({ release, manifest }) => `has ${release} ${manifest}`),
    ]),
  ];
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodeMirrorHealth(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. @throws Malformed, naming the line. */
export function decodeMirrorHealth(bytes: Uint8Array): MirrorHealth {
  if (bytes.length > MAX_HEALTH) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(FORMAT, 'not lines of ASCII');
  const lines = new LineReader(FORMAT, text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const channel = lines.one('channel');
  if (!isSafeSegment(channel)) throw lines.fail('channel');
  const audited = lines.time('audited');
  const mirrors: AuditedMirror[] = [];
  for (let words = lines.optional('mirror', 2); words; words = lines.optional('mirror', 2)) {
    const [named = '', url = ''] = words;
    const verdict = MIRROR_VERDICTS.find((one) => one === named);
    if (verdict === undefined) throw lines.fail('no verdict');
    if (!isMirrorUrl(url)) throw lines.fail('no address of a mirror');
    if (mirrors.some((other) => other.url === url)) throw lines.fail(`${url} twice`);
    const releases: { release: string; manifest: string }[] = [];
    for (let has = lines.optional('has', 2); has; has = lines.optional('has', 2)) {
      const [release = '', manifest = ''] = has;
      if (verdict !== 'verified') throw lines.fail('a release of a mirror that is not verified');
      if (!isReleaseId(release) || !/^[0-9a-f]{64}$/.test(manifest)) throw lines.fail('no release');
      releases.push({ release, manifest });
    }
    mirrors.push({ url, verdict, releases });
  }
  lines.end();
  return { channel, audited, mirrors };
}

/** Whether this is how a mirror's address is written: one spelling each, a folder, nobody's password, no query. */
export function isMirrorUrl(text: string): boolean {
  if (!/^https?:\/\/[!-~]+\/$/.test(text)) return false;
  try {
    const url = new URL(text);
    return url.href === text && url.username === '' && url.password === '' && !/[?#]/.test(text);
  } catch {
    return false;
  }
}
