import { createHash } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import { bytesContent } from '../../files/measure.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { decodeChecksums } from '../../formats/records/checksums.ts';
import { checksumPath, SEAL } from '../../formats/records/seal-names.ts';
import {
  type ArchAnchors,
  type ArchChecks,
  type ArchSums,
  archChecks,
  certificatesIn,
  demandSealable,
  ROOT_SUMS,
} from '../../trust/arch-seals.ts';
import { decodeOr } from '../../trust/check.ts';
import { openpgpCheck } from '../../trust/openpgp-check.ts';
import type { Policy } from '../../trust/policy.ts';
import { examine, verify } from '../../trust/verify.ts';
import { type ArchSource, ifThere, VERSION_FILE } from './arch-source.ts';
import { versionOf } from './arch-version.ts';

/** How what is signed is judged. */
export interface ArchTerms {
  readonly anchors: ArchAnchors;
  readonly policy: Policy;
  /** What certificates and keys are judged at, milliseconds since 1970. */
  readonly at: number;
}

/** One file of a release, and what was found beside it: all of it judged, as far as that goes without the file. */
export interface ArchFile extends ArchChecks {
  readonly path: string;
  /** Bytes that it may have: nobody signs how many it has. */
  readonly limit: number;
  /** Bytes that the mirror says it has. */
  readonly size: number;
  /** The name of what is promised, in hex: of the path and every seal. */
  readonly id: string;
}

/** What was verified of one file, and by whom. */
export interface ArchRow {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly sha256: string;
  /** A common name or a fingerprint; empty: only sums, which nobody signed. None: nothing stands beside it. */
  readonly by: readonly { readonly seal: string; readonly signer: string; readonly remark?: string }[];
  /** Seals that are there, and that nothing was given to judge by. */
  readonly unjudged: readonly string[];
  /** Whether a key stands behind it. */
  readonly signed: boolean;
}

/** What a mirror says of a release, before anything large is fetched. */
export interface ArchRelease {
  readonly version: string;
  readonly files: readonly ArchFile[];
  readonly root: ArchFile;
  /** What goes into the tree as it is: seals, sums, `arch/version`, by path. */
  readonly small: ReadonlyMap<string, Uint8Array>;
  /** Of what is small and no seal. */
  readonly plain: readonly ArchRow[];
  /** Lists and promotions that somebody signed, with who did; and those that nobody did. */
  readonly lists: readonly {
    readonly name: string;
    readonly sha256: string;
    readonly signer: string | undefined;
  }[];
  /** Two mirrors that have one release give one and the same digest here. */
  readonly id: string;
}

const MIB = 1024 * 1024;
const MAX_SEAL = 64 * 1024;
const MAX_LIST = MIB;

const BOOT = 'arch/boot/x86_64';
const ROOTS = ['arch/x86_64/airootfs.sfs', 'arch/x86_64/airootfs.erofs'];
/** Where the initramfs has no microcode inside, there is an image beside it. */
const MICROCODE = ['arch/boot/amd-ucode.img', 'arch/boot/intel-ucode.img'];
const PACKAGES = 'arch/pkglist.x86_64.txt';
const SUMS = [
  { name: 'sha256sums.txt', hash: 'sha256' },
  { name: 'sha512sums.txt', hash: 'sha512' },
] as const;

/**
 * Reads the sums and seals of a release from one mirror, and judges them as far as they go without the files.
 *
 * @param maxRoot bytes that a root image may have.
 * @throws Refusal, IoError.
 */
export async function readRelease(
  source: ArchSource,
  version: string,
  terms: ArchTerms,
  maxRoot: number,
): Promise<ArchRelease> {
  // 1. What says something of many files.
  const small = new Map<string, Uint8Array>([[VERSION_FILE, await source.read(VERSION_FILE, 64)]]);
  demandVersion(source, version, small);
  const packages = await ifThere(source.read(PACKAGES, MIB));
  if (packages) small.set(PACKAGES, packages);
  const promoted = await source.promotion(version);
  const sums: ArchSums[] = [];
  for (const { name, hash } of SUMS) {
    const bytes = await ifThere(source.read(name, MAX_LIST));
    if (!bytes) continue;
    const seal = await ifThere(source.read(`${name}.sig`, MAX_SEAL));
    const lines = decodeOr(name, () => decodeChecksums(bytes, hash === 'sha256' ? 32 : 64));
    const signer = (await signerOf(name, bytes, seal, terms)) ?? '';
    sums.push({ name, bytes, hash, signer, paths: new Set(lines.map((line) => line.name)) });
  }
  // 2. Which files there are.
  const found: { readonly path: string; readonly limit: number; readonly size: number }[] = [];
  const find = async (path: string, limit: number): Promise<boolean> => {
    const size = await sizeIfThere(source, path, limit);
    if (size !== undefined) found.push({ path, limit, size });
    return size !== undefined;
  };
  for (const path of [`${BOOT}/vmlinuz-linux`, `${BOOT}/initramfs-linux.img`])
    if (!(await find(path, 1024 * MIB))) throw missing(source, path);
  for (const path of MICROCODE) await find(path, 64 * MIB);
  let root: string | undefined;
  for (const path of ROOTS) if (root === undefined && (await find(path, maxRoot))) root = path;
  if (root === undefined) throw missing(source, `${ROOTS[0]} or .erofs`);
  for (const path of promoted?.promotion.files ?? []) await demandThere(source, path, found, small);
  // 3. What stands beside each.
  const seals = new Map<string, Map<string, Uint8Array>>();
  const brought: Certificate[] = [];
  for (const { path } of found) {
    const own = new Map<string, Uint8Array>();
    seals.set(path, own);
    for (const suffix of [SEAL.ipxe, SEAL.cms, SEAL.openpgp, ...(path === root ? [ROOT_SUMS] : [])]) {
      const place = suffix === ROOT_SUMS ? checksumPath(path) : path + suffix;
      const bytes = await ifThere(source.read(place, MAX_SEAL));
      if (!bytes) continue;
      own.set(suffix, bytes);
      small.set(place, bytes);
      if (suffix === SEAL.ipxe) brought.push(...certificatesIn(place, bytes));
    }
  }
  // 4. What no content could make good is refused before that is fetched.
  const { anchors, policy, at } = terms;
  const files = found.map(({ path, limit, size }): ArchFile => {
    const own = seals.get(path) ?? new Map();
    const checks = archChecks(path, own, sums, brought, anchors, policy, at);
    demandSealable(path, checks, sums, policy);
    return {
      path,
      limit,
      size,
      ...checks,
      id: idOf([path, version, ...own.values(), ...sums.map((one) => one.bytes)]),
    };
  });
  // 5. So is what is small, where a list names it.
  const plain: ArchRow[] = [];
  for (const [path, bytes] of small) {
    const { checks } = archChecks(path, new Map(), sums, [], anchors, policy, at);
    const { findings } = await examine(
      bytesContent(bytes),
      checks.map(({ check }) => check),
    );
    const by = findings.map((finding, index) => {
      if (!finding.verified) throw finding.refusal;
      return { seal: checks[index]?.seal ?? '', signer: finding.evidence.signer };
    });
    if (path !== VERSION_FILE && path !== PACKAGES) continue;
    const signed = by.some(({ signer }) => signer !== '');
    plain.push({ path, size: bytes.length, sha256: idOf([bytes]), by, unjudged: [], signed });
  }
  const lists = [
    ...sums.map(({ name, bytes, signer }) => ({ name, sha256: idOf([bytes]), signer: signer || undefined })),
    ...(promoted
      ? [
          {
            name: promoted.key,
            sha256: idOf([promoted.bytes]),
            signer: await signerOf(promoted.key, promoted.bytes, promoted.seal, terms),
          },
        ]
      : []),
  ];
  const all = [...small].sort(([a], [b]) => (a < b ? -1 : 1)).flat();
  const id = idOf([...all, ...lists.map(({ sha256 }) => sha256)]);
  const rootFile = files.find(({ path }) => path === root);
  if (!rootFile) throw missing(source, root);
  return { version, files, root: rootFile, small, plain, lists, id };
}

/** What was read when it was located may have been another file. */
function demandVersion(source: ArchSource, version: string, small: ReadonlyMap<string, Uint8Array>): void {
  const found = versionOf(VERSION_FILE, small.get(VERSION_FILE) ?? new Uint8Array());
  if (found === version) return;
  throw new Refusal('mixed-releases', `${source.name} says of ${version} that it is ${found}.`, {
    version,
    found,
  });
}

/** Who signed a list, by the keyring. @returns undefined: nobody, or nothing was given to judge by. @throws Refusal */
async function signerOf(
  name: string,
  bytes: Uint8Array,
  seal: Uint8Array | undefined,
  { anchors: { openpgp }, policy, at }: ArchTerms,
): Promise<string | undefined> {
  if (!seal || openpgp.length === 0) return undefined;
  const check = openpgpCheck(`${name}.sig`, seal, openpgp, policy, at);
  const { evidence } = await verify(name, bytesContent(bytes), [check]);
  return evidence[0]?.signer;
}

/** A promotion names files, or folders at the top; what else it names is not fetched, and has to be there all the same. */
async function demandThere(
  source: ArchSource,
  path: string,
  found: readonly { readonly path: string }[],
  small: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  const known = [...found.map((file) => file.path), ...small.keys()];
  if (known.some((one) => one === path || one.startsWith(`${path}/`))) return;
  if ((await sizeIfThere(source, path, Number.MAX_SAFE_INTEGER)) === undefined) throw missing(source, path);
}

async function sizeIfThere(source: ArchSource, path: string, limit: number): Promise<number | undefined> {
  try {
    return await source.size(path, limit);
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

function missing(source: ArchSource, path: string): Refusal {
  return new Refusal('absent', `${source.name} does not have ${path} of this release.`, { path });
}

function idOf(parts: readonly (Uint8Array | string)[]): string {
  const hash = createHash('sha256');
  if (parts.length === 1 && typeof parts[0] !== 'string')
    return hash.update(parts[0] as Uint8Array).digest('hex');
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest('hex');
}
