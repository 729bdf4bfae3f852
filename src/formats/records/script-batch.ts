import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, LineReader } from './lines.ts';
import { isReleaseId, isSafeSegment } from './safe-path.ts';

/**
 * The scripts that machines get by name, as they were made together for one channel: whose snapshot names this record by
 * its SHA-256, so that scripts and channel move as one. In the order of their lines:
 *
 *     bootseal-batch 1
 *     channel stable
 *     since 2026-11-01T00:00:00Z
 *     machines <sha256>
 *     script <key> x86_64 ipxe <sha256> arch/2026.11.01
 *     script <key> - grub <sha256> -
 */
export interface ScriptBatch {
  readonly channel: string;
  /**
   * When these rules were signed first, milliseconds since 1970, whole seconds: of several channels the newest rules decide,
   * and renewing a snapshot makes none newer.
   */
  readonly since: number;
  /** SHA-256 of the rules that it was made of (`scripts/<sha256>.machines`), lower-case hex. */
  readonly rules: string;
  readonly scripts: readonly BatchScript[];
}

export interface BatchScript {
  /** 16 hex digits: for which assignment and machines. */
  readonly key: string;
  /** Whose machines boot it (`uname -m`); undefined: all. */
  readonly arch: string | undefined;
  readonly loader: 'ipxe' | 'grub';
  /** Of the script, lower-case hex. */
  readonly sha256: string;
  /** What it boots; undefined: no release. */
  readonly release: string | undefined;
}

/** The file of a script in a state, and in an answer to a request: `scripts/<sha256>.ipxe`, `.cfg`. */
export function scriptFile({ loader, sha256 }: Pick<BatchScript, 'loader' | 'sha256'>): string {
  return `scripts/${sha256}${loader === 'ipxe' ? '.ipxe' : '.cfg'}`;
}

/** Bytes: every machine of a large site with a script of its own. */
export const MAX_BATCH = 32 * 1024 * 1024;

const FORMAT = 'batch of scripts';
const MAGIC = 'bootseal-batch 1';
const SHA256 = /^[0-9a-f]{64}$/;

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeScriptBatch({ channel, since, rules, scripts }: ScriptBatch): Uint8Array {
  const lines = scripts
    .map(({ key, arch, loader, sha256, release }) =>
      ['script', key, arch ?? '-', loader, sha256, release ?? '-'].join(' '),
    )
    .sort();
  const head = [MAGIC, `channel ${channel}`, `since ${isoSeconds(since)}`, `machines ${rules}`];
  const text = [...head, ...lines].join('\n');
  const bytes = Buffer.from(`${text}\n`, 'latin1');
  decodeScriptBatch(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeScriptBatch(bytes: Uint8Array): ScriptBatch {
  if (bytes.length > MAX_BATCH) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(FORMAT, 'not lines of ASCII');
  const all = text.slice(0, -1).split('\n');
  const lines = new LineReader(FORMAT, all);
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const channel = lines.one('channel');
  if (!isSafeSegment(channel)) throw lines.fail('channel');
  const since = lines.time('since');
  const rules = lines.one('machines');
  if (!SHA256.test(rules)) throw lines.fail('machines is no SHA-256');
  const scripts: BatchScript[] = [];
  const seen = new Set<string>();
  for (let at = 4; lines.has('script'); at += 1) {
    // Two orders would be two spellings.
    if (at > 4 && (all[at - 1] ?? '') >= (all[at] ?? '')) throw lines.fail('scripts out of order');
    const script = readScript(lines);
    const place = `${script.key} ${script.arch ?? '-'} ${script.loader}`;
    if (seen.has(place)) throw lines.fail('two scripts of one key');
    seen.add(place);
    scripts.push(script);
  }
  lines.end();
  return { channel, since, rules, scripts };
}

function readScript(lines: LineReader): BatchScript {
  const [key = '', arch = '', loader, sha256 = '', release = '', ...more] = lines.words('script');
  if (!/^[0-9a-f]{16}$/.test(key) || more.length > 0) throw lines.fail('script takes a key and four words');
  if (arch !== '-' && !isSafeSegment(arch)) throw lines.fail('no architecture');
  if (loader !== 'ipxe' && loader !== 'grub') throw lines.fail('no loader');
  if (!SHA256.test(sha256)) throw lines.fail('no SHA-256');
  if (release !== '-' && !isReleaseId(release)) throw lines.fail('no NAME/VERSION');
  return {
    key,
    arch: arch === '-' ? undefined : arch,
    loader,
    sha256,
    release: release === '-' ? undefined : release,
  };
}
