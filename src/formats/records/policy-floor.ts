import { Malformed } from '../../errors/malformed.ts';
import { isoSeconds, timeOf } from './lines.ts';
import { isSafeSegment } from './safe-path.ts';

/**
 * The policy floor: `/bootseal/policy` inside an initramfs or its overlay. What stands here no command line,
 * DHCP answer or server can lower. Lines as in the manifest, readable by busybox sh, one way to write it:
 *
 *     bootseal-policy 1
 *     name arch
 *     min-serial 2026110100
 *     grace-days 0
 *     issued 2026-11-01T00:00:00Z
 *     ntp time.example.org
 *     require manifest
 *     require openpgp
 *     mode verity
 *     fallback ram
 *     hand-over yes
 */
export interface PolicyFloor {
  /** The releases that this machine boots: `arch` for every `arch/VERSION`. Undefined: any. */
  readonly name: string | undefined;
  /** Releases with a lower serial are rolled back. */
  readonly minSerial: number;
  /** Days after best-before during which a release still boots. */
  readonly graceDays: number;
  /** When this floor was made, milliseconds since 1970: a clock that says less is wrong, and is taken to say this. */
  readonly issued?: number | undefined;
  /** A time server's name or address. Its answer can move the clock forward, and no further than best-before. */
  readonly ntp?: string | undefined;
  /** Checks that happen whatever the command line asks for, in this order. */
  readonly require: readonly RequiredCheck[];
  /** How the overlay's init gets at the root image: over NBD under dm-verity, or downloaded into RAM. */
  readonly mode?: RootMode | undefined;
  /** What it does where the mode is `verity` and the kernel lacks nbd or dm-verity; without it, it refuses. */
  readonly fallback?: 'ram';
  /** Whether it goes on to the initramfs' own `/init`, the verified root at hand, instead of into that root. */
  readonly handOver?: boolean;
}

export const ROOT_MODES = ['verity', 'ram'] as const;
export type RootMode = (typeof ROOT_MODES)[number];

export const REQUIRED_CHECKS = ['manifest', 'checksum', 'openpgp', 'cms'] as const;
export type RequiredCheck = (typeof REQUIRED_CHECKS)[number];

/** Where it lies, relative to the root of the initramfs. */
export const POLICY_FLOOR_PATH = 'bootseal/policy';

const MAGIC = 'bootseal-policy 1';
const MAX_POLICY = 4096;
const MAX_GRACE_DAYS = 366;

export function encodePolicyFloor(floor: PolicyFloor): Uint8Array {
  const lines = [
    MAGIC,
    ...(floor.name === undefined ? [] : [`name ${floor.name}`]),
    `min-serial ${floor.minSerial}`,
    `grace-days ${floor.graceDays}`,
    ...(floor.issued === undefined ? [] : [`issued ${isoSeconds(floor.issued)}`]),
    ...(floor.ntp === undefined ? [] : [`ntp ${floor.ntp}`]),
    ...floor.require.map((check) => `require ${check}`),
    ...(floor.mode === undefined ? [] : [`mode ${floor.mode}`]),
    ...(floor.fallback === undefined ? [] : [`fallback ${floor.fallback}`]),
    ...(floor.handOver ? ['hand-over yes'] : []),
  ];
  const bytes = Buffer.from(`${lines.join('\n')}\n`, 'latin1');
  decodePolicyFloor(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`. */
export function decodePolicyFloor(bytes: Uint8Array): PolicyFloor {
  if (bytes.length > MAX_POLICY)
    throw new Malformed('policy', `${bytes.length} bytes, more than ${MAX_POLICY}`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!text.endsWith('\n')) throw new Malformed('policy', 'no newline at the end');
  const lines = text.slice(0, -1).split('\n');
  if (lines.shift() !== MAGIC) throw new Malformed('policy', `the first line is not "${MAGIC}"`);
  const name = taken(lines, 'name');
  if (name !== undefined && !isSafeSegment(name)) throw new Malformed('policy', 'name');
  const minSerial = count(lines.shift(), 'min-serial');
  const graceDays = count(lines.shift(), 'grace-days');
  if (graceDays > MAX_GRACE_DAYS) throw new Malformed('policy', `grace-days over ${MAX_GRACE_DAYS}`);
  const issuedText = taken(lines, 'issued');
  const issued = issuedText === undefined ? undefined : timeOf(issuedText);
  if (issuedText !== undefined && issued === undefined) throw new Malformed('policy', 'issued is no time');
  const ntp = taken(lines, 'ntp');
  if (ntp !== undefined && !isHost(ntp)) throw new Malformed('policy', 'ntp is no host');
  const handOver = lines.at(-1) === 'hand-over yes' && lines.pop() !== undefined;
  const fallback = lines.at(-1) === 'fallback ram' && lines.pop() !== undefined;
  const mode = ROOT_MODES.find((candidate) => lines.at(-1) === `mode ${candidate}`);
  if (mode !== undefined) lines.pop();
  if (fallback && mode !== 'verity') throw new Malformed('policy', 'a fallback from no mode verity');
  const require: RequiredCheck[] = [];
  for (const line of lines) {
    const [, word = ''] = /^require ([a-z]+)$/.exec(line) ?? [];
    const check = REQUIRED_CHECKS.find((candidate) => candidate === word);
    if (check === undefined)
      throw new Malformed('policy', `unknown line ${JSON.stringify(line.slice(0, 80))}`);
    const last = require.at(-1);
    if (last !== undefined && REQUIRED_CHECKS.indexOf(last) >= REQUIRED_CHECKS.indexOf(check)) {
      throw new Malformed('policy', `require ${check} repeated or out of order`);
    }
    require.push(check);
  }
  return {
    name,
    minSerial,
    graceDays,
    ...(issued === undefined ? {} : { issued }),
    ...(ntp === undefined ? {} : { ntp }),
    require,
    ...(mode === undefined ? {} : { mode }),
    ...(fallback ? { fallback: 'ram' as const } : {}),
    ...(handOver ? { handOver } : {}),
  };
}

/**
 * An IPv4 or IPv6 address, or a name as the DNS has them (RFC 1123 §2.1). It becomes an argument of a program, so it
 * never begins with a dash.
 */
export function isHost(text: string): boolean {
  if (/^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$/.test(text)) return text.length <= 45;
  if (text.length > 253) return false;
  return text.split('.').every((label) => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label));
}

/** Takes the value of the first line off, where that is of this key. */
function taken(lines: string[], key: string): string | undefined {
  if (!lines[0]?.startsWith(`${key} `)) return undefined;
  return lines.shift()?.slice(key.length + 1);
}

function count(line: string | undefined, key: string): number {
  const [, digits] = new RegExp(`^${key} (0|[1-9][0-9]{0,14})$`).exec(line ?? '') ?? [];
  if (digits === undefined) throw new Malformed('policy', `"${key} NUMBER" belongs here`);
  return Number(digits);
}
